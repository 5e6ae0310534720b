"""The preview is opened before there is an app: the page narrates, and then is the app, by itself."""

import os
from pathlib import Path

from playwright.sync_api import expect

from tests.e2e.browser import chromium
from tests.e2e.server import Server


def test_the_page_narrates_and_turns_into_the_app(server: Server) -> None:
    session = server.create()
    with chromium() as browser:
        page = browser.new_page()
        failed: list[str] = []
        page.on("pageerror", lambda error: failed.append(str(error)))
        first = page.goto(session["previewUrl"])
        assert first is not None and first.status == 503
        expect(page.locator("#title")).to_have_text("Build a todo app")
        _picture(page, "waiting")
        expect(page.get_by_role("textbox")).to_be_visible(timeout=20_000)
        page.get_by_role("textbox").fill("Buy milk")
        page.get_by_role("textbox").press("Enter")
        expect(page.get_by_text("Buy milk")).to_be_visible()
        for width, height in ((390, 844), (1440, 900)):
            page.set_viewport_size({"width": width, "height": height})
            _picture(page, f"app-{width}")
        with page.expect_event("load"):  # it reloads itself when the app is changed
            server.turn(server.get(session), "Make the header blue")
        expect(page.get_by_text("Buy milk")).to_be_visible()
        assert failed == []
    server.delete(session)


def _picture(page, name: str) -> None:  # type: ignore[no-untyped-def]
    """Kept when somebody wants to look: OPENSESSIONS_PICTURES names a folder."""
    if folder := os.environ.get("OPENSESSIONS_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png")
