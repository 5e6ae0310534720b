"""What an agent wrote, opened in a real browser by its address: it is saved, and nothing of it runs."""

import asyncio
from pathlib import Path

from playwright.async_api import Error, Page, async_playwright
from starlette.responses import HTMLResponse

from tests.gateway.file_parts import KEY, S1, place_of_files
from tests.gateway.model_parts import serving
from tests.gateway.test_browser_streams import FLAGS

HTML = b"<!doctype html><title>owned</title><script>fetch('/beacon-of-html')</script>"
SVG = b"""<svg xmlns="http://www.w3.org/2000/svg"><script>fetch('/beacon-of-svg')</script></svg>"""
SCRIPT = b"fetch('/beacon-of-js')"
EMBEDDING = """<!doctype html><title>product</title><script>
const tried = {};
for (const [tag, name] of [["iframe", "x.html"], ["object", "x.svg"], ["img", "x.svg"], ["script", "x.js"]]) {
  const element = document.createElement(tag);
  element[tag === "object" ? "data" : "src"] = location.hash.slice(1).replace("NAME", name);
  element.onload = () => tried[tag] = "loaded";
  element.onerror = () => tried[tag] = "refused";
  document.documentElement.append(element);
}
</script>"""


async def test_html_and_svg_are_saved_and_run_nowhere(tmp_path: Path) -> None:
    async with place_of_files(tmp_path) as here, async_playwright() as playwright:
        for name, data in {"x.html": HTML, "x.svg": SVG, "x.js": SCRIPT}.items():
            (here.root / "app" / name).write_bytes(data)
        url = f"{here.client.base_url}/v1/sessions/{S1}/files/app/NAME?api_key={KEY}".replace("//v1", "/v1")
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        context = await browser.new_context(accept_downloads=True)
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        page = await context.new_page()
        try:
            for name, data in {"x.html": HTML, "x.svg": SVG}.items():
                assert await saved(page, url.replace("NAME", name)) == (name, data)
            assert await page.title() != "owned"
            async with serving(HTMLResponse(EMBEDDING)) as elsewhere:
                await page.goto(f"{elsewhere}/#{url}")
                await page.wait_for_function("tried.img && tried.script")
                tried = await page.evaluate("tried")
        finally:
            await browser.close()
    assert (tried["img"], tried["script"]) == ("refused", "refused")
    assert len([each for each in asked if "/files/" in each]) >= 4
    assert not [each for each in asked if "beacon" in each]


async def saved(page: Page, url: str) -> tuple[str, bytes]:
    """The name and the bytes of what a browser saves when it goes somewhere."""
    async with page.expect_download() as downloading:
        try:
            await page.goto(url)
        except Error as error:
            assert "Download is starting" in str(error) or "ERR_ABORTED" in str(error), error
    download = await downloading.value
    return download.suggested_filename, await asyncio.to_thread((await download.path()).read_bytes)
