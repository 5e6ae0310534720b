"""What a page of another origin does with tokens, and what a hostile preview cannot, in Chromium."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.browser import chromium
from tests.e2e.server import Server
from tests.e2e.test_tokens import REVOKED_SECONDS, revoke, talking, token

PRODUCT = b"""<!doctype html><title>product</title><script>
const told = [], seen = [], read = [];
addEventListener("message", (message) => told.push(message.data));
let source, fetched = "no";
function watch(url) {
  source = new EventSource(url);
  source.onmessage = (message) => seen.push(JSON.parse(message.data).type);
}
async function pull(url, token) {
  const answer = await fetch(url, {headers: {Authorization: `Bearer ${token}`}});
  const reader = answer.body.getReader(), text = new TextDecoder();
  fetched = "open";
  for (let part; !(part = await reader.read()).done;) read.push(text.decode(part.value));
  fetched = "closed";
}
function show(url) {
  const frame = document.createElement("iframe");
  frame.src = url;
  document.body.replaceChildren(frame);
}
</script><body></body>"""


@contextmanager
def product() -> Iterator[str]:
    """A page of another origin, and another site, than the API and the previews."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PRODUCT)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def sessions(server: Server) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """One whose preview is private, and one beside it whose preview is not."""
    both = talking(server, preview="private"), talking(server)
    yield both
    for each in both:
        server.delete(each)


@pytest.fixture
def context(sessions: object) -> Iterator[BrowserContext]:
    with chromium() as browser:
        yield browser.new_context()


def opened(context: BrowserContext, url: str) -> Page:
    page = context.new_page()
    page.goto(url)
    return page


def preview(server: Server, session: dict[str, Any]) -> str:
    """An address that opens the private preview once."""
    return str(token(server, session, scope="preview")["url"])


def test_a_page_of_another_origin_watches_and_shows_until_it_is_revoked(
    server: Server, context: BrowserContext, sessions: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    private, _ = sessions
    with product() as origin:
        page, made = opened(context, origin), token(server, private)
        page.evaluate("watch", made["events_url"])
        page.evaluate(
            "([url, token]) => { pull(url, token); }", [made["events_url"].partition("?")[0], made["token"]]
        )
        page.evaluate("show", preview(server, private))
        page.wait_for_function("seen.includes('turn_complete') && read.join('').includes('turn_complete')")
        page.wait_for_function("told.includes('page /') && told.includes('socket said hi')")
        frame = page.frame_locator("iframe").get_by_role("heading", name="app")
        expect(frame).to_be_visible()
        revoke(server, private)
        began = time.monotonic()
        closed = "told.includes('socket closed') && fetched === 'closed' && source.readyState !== 1"
        page.wait_for_function(closed, timeout=REVOKED_SECONDS * 1000)
        assert time.monotonic() - began < REVOKED_SECONDS
        page.wait_for_function("source.readyState === EventSource.CLOSED", timeout=15_000)
        page.evaluate("show", private["previewUrl"])
        expect(page.frame_locator("iframe").get_by_text("This preview is private")).to_be_visible()


def test_O08_an_address_is_good_once_and_each_place_needs_its_own(
    server: Server, context: BrowserContext, sessions: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    private, _ = sessions
    url = preview(server, private)
    page = opened(context, url)
    assert page.url == f"{private['previewUrl']}/" and page.title() == "app"
    assert page.reload().status == 200  # type: ignore[union-attr]
    assert page.goto(url).status == 401  # type: ignore[union-attr]
    [cookie] = [each for each in context.cookies() if each["name"] == "__Host-os_pass"]
    assert cookie["httpOnly"] and cookie["secure"] and cookie["sameSite"] == "None"
    assert page.evaluate("document.cookie") == ""
    with product() as origin:
        framing = opened(context, origin)
        framing.evaluate("show", private["previewUrl"])
        expect(framing.frame_locator("iframe").get_by_text("This preview is private")).to_be_visible()


ATTACKS = """async (target) => {
  const outcomes = {};
  const named = (kind) => `${target}/attack-${kind}`;
  const tried = async (kind, promise) => {
    outcomes[kind] = await promise.then(() => "came back", () => "failed");
  };
  const loaded = (kind, tag) => tried(kind, new Promise((good, bad) => {
    const element = document.createElement(tag);
    element.src = named(kind); element.onload = good; element.onerror = bad;
    document.body.append(element);
  }));
  const all = {credentials: "include"};
  await tried("fetch", fetch(named("fetch"), all));
  await tried("blind", fetch(named("blind"), {...all, mode: "no-cors"}));
  await tried("post", fetch(named("post"), {...all, method: "POST", mode: "no-cors", body: "x"}));
  await tried("put", fetch(named("put"), {...all, method: "PUT"}));
  await loaded("img", "img");
  await loaded("script", "script");
  await loaded("frame", "iframe");
  await tried("socket", new Promise((good, bad) => {
    const socket = new WebSocket(named("socket").replace("http", "ws"));
    socket.onopen = good; socket.onerror = bad;
  }));
  const form = document.createElement("form");
  const frame = document.createElement("iframe");
  frame.name = "posted"; form.target = "posted"; form.method = "POST"; form.action = named("form");
  document.body.append(frame, form);
  await tried("form", new Promise((good) => { frame.onload = good; form.submit(); }));
  return outcomes;
}"""


def test_O10_O11_O13_a_sibling_gets_nothing_with_the_visitors_cookie(
    server: Server, context: BrowserContext, sessions: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    private, sibling = sessions
    own = opened(context, preview(server, private))
    assert own.evaluate("fetch('/own').then((answer) => answer.status)") == 200
    hostile, statuses = opened(context, sibling["previewUrl"]), {}
    hostile.on("response", lambda answer: statuses.setdefault(answer.url.rpartition("/")[2], answer.status))
    outcomes = hostile.evaluate(ATTACKS, private["previewUrl"])
    assert {kind: outcomes[kind] for kind in ("fetch", "put", "img", "script", "socket")} == dict.fromkeys(
        ("fetch", "put", "img", "script", "socket"), "failed"
    )
    reached = {name: status for name, status in statuses.items() if name.startswith("attack-")}
    assert reached and set(reached.values()) <= {401, 403}, reached
    seen = [each["target"] for each in own.evaluate("fetch('/seen').then((answer) => answer.json())")]
    assert "/own" in seen and not [target for target in seen if "attack" in target]
    assert hostile.goto(f"{private['previewUrl']}/linked").status == 200  # type: ignore[union-attr]


def test_O14_no_service_worker_of_a_private_preview(
    server: Server, context: BrowserContext, sessions: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    private, sibling = sessions
    register = "navigator.serviceWorker.register('/sw.js').then(() => 'registered', () => 'refused')"
    assert opened(context, preview(server, private)).evaluate(register) == "refused"
    assert opened(context, sibling["previewUrl"]).evaluate(register) == "registered"


def test_O12_what_an_app_says_to_the_browser_about_others_is_not_passed_on(
    server: Server, context: BrowserContext, sessions: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    private, sibling = sessions
    own = opened(context, preview(server, private))
    own.evaluate("document.cookie = 'mine=1; SameSite=Strict'")
    answer = opened(context, sibling["previewUrl"]).goto(f"{sibling['previewUrl']}/hostile")
    assert answer is not None
    assert not {"clear-site-data", "alt-svc", "nel"} & answer.all_headers().keys()
    own.reload()
    assert own.evaluate("document.cookie") == "mine=1"
    evil = [each for each in context.cookies() if each["name"] == "evil"]
    assert [each["domain"] for each in evil] == [sibling["previewUrl"].partition("//")[2].partition(":")[0]]
    assert own.evaluate("fetch('/still').then((answer) => answer.status)") == 200


def test_O15_a_siblings_cookie_bomb_is_cleared_by_the_first_load(
    server: Server, context: BrowserContext, sessions: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    private, sibling = sessions
    bomber = opened(context, preview(server, private))
    bomber.evaluate("""() => {
      for (let n = 0; n < 40; n++)
        document.cookie = `bomb${n}=${"x".repeat(3500)}; domain=preview.localhost; path=/`;
    }""")
    page = context.new_page()
    assert page.goto(sibling["previewUrl"]).status == 431  # type: ignore[union-attr]
    assert page.goto(sibling["previewUrl"]).status == 200  # type: ignore[union-attr]
