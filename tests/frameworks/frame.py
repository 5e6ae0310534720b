"""A page of another origin that shows a preview in a frame, in a browser, and all that goes wrong."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import Browser, ConsoleMessage, Frame, Page, Request, Response, expect

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP *.preview.test 127.0.0.1, MAP host.test 127.0.0.1",
]
PATIENCE = 120_000
"""Milliseconds. The first page of a dev server is compiled when it is asked for, on a busy machine."""
HYDRATED = """() => [...document.querySelectorAll("h1, a")].some(
    element => Object.keys(element).some(key => key.startsWith("__reactFiber")))"""


class Window:
    """A page of the browser. `product` is the address of another, which frames what its fragment names."""

    def __init__(self, page: Page, product: str) -> None:
        self._page, self._product = page, product
        self._complaints: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self._complaints.append(f"page error: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def embed(self, preview: str) -> None:
        self._page.goto(f"{self._product}/#{preview}", timeout=PATIENCE)

    def open(self, preview: str) -> None:
        self._page.goto(preview, timeout=PATIENCE)

    def expect_text(self, text: str) -> None:
        expect(self._preview.get_by_text(text).first).to_be_visible(timeout=PATIENCE)

    def expect_hydrated(self) -> None:
        """The framework has taken over what the server sent."""
        self._preview.wait_for_function(HYDRATED, timeout=PATIENCE)

    def expect_counting(self) -> None:
        button = self._preview.get_by_role("button", name="Count is")
        button.click(timeout=PATIENCE)
        expect(button).to_have_text("Count is 1", timeout=PATIENCE)

    def mark(self) -> None:
        """Leave something in the preview that a reload wipes away."""
        self._preview.evaluate("window.left = true")

    def marked(self) -> bool:
        return bool(self._preview.evaluate("window.left === true"))

    def reload(self) -> None:
        """As a visitor does, the preview alone."""
        self.mark()
        self._preview.evaluate("location.reload()")
        anew = "document.readyState === 'complete' && !window.left"
        self._preview.wait_for_function(anew, timeout=PATIENCE)

    def complaints(self) -> list[str]:
        """What went wrong since this was asked before."""
        self._complaints, taken = [], self._complaints
        return taken

    @property
    def _preview(self) -> Frame:
        return self._page.frames[-1]

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complaints.append(f"console: {message.text} {message.location}")

    def _failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page's own wish
            self._complaints.append(f"failed: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self._complaints.append(f"answered {response.status}: {response.url}")


class _Product(BaseHTTPRequestHandler):
    """Shows in a frame what its own address names after the #."""

    PAGE = (
        b"<!doctype html><title>product</title><link rel=icon href=data:,>"
        b"<script>document.write('<iframe width=999 height=700 src=' + location.hash.slice(1) + '>')</script>"
    )

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.PAGE)))
        self.end_headers()
        self.wfile.write(self.PAGE)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def window(browser: Browser) -> Iterator[Window]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Product) as product:
        serving = threading.Thread(target=product.serve_forever)
        serving.start()
        page = browser.new_page()
        yield Window(page, f"http://host.test:{product.server_port}")
        page.close()
        product.shutdown()
        serving.join()
