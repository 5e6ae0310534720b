"""What a stranger tries from outside with bytes: requests of two meanings, of no end, and of bad shape.

The numbers are the threat model's.
"""

import json
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from playwright.async_api import Request, async_playwright

from tests.e2e.probes.hostile import SLOW, Inside, healthy, raw
from tests.e2e.server import KEY, Server, until

AMBIGUOUS = {
    "CL.TE": "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "TE.CL": "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of lengths": "Content-Length: 3, 5\r\n\r\nabcde",
    "signed length": "Content-Length: +3\r\n\r\nabc",
    "folded field": "X-A: b\r\n Content-Length: 3\r\n\r\nabc",
    "bare LF": "X-A: b\nContent-Length: 3\r\n\r\nabc",
    "space before colon": "Content-Length : 3\r\n\r\nabc",
    "bad chunk": "Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
    "chunk with a sign": "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "chunk of LF": "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "chunked twice": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and not last": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "unknown coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "NUL": "X-A: b\0c\r\n\r\n",
    "CR in a value": "X-A: b\rContent-Length: 3\r\n\r\n",
}
PREFIX = "GET /smuggled HTTP/1.1\r\nX: "


@pytest.mark.parametrize("to", ["preview", "api"])
@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_o16_m3_a_request_of_two_meanings_is_refused(inside: Inside, to: str, kind: str) -> None:
    preview, api = inside.session["previewUrl"].removeprefix("http://"), f"127.0.0.1:{inside.server.port}"
    own, path = (preview, "/echo") if to == "preview" else (api, "/v1/sessions")
    head = f"POST {path} HTTP/1.1\r\nHost: {own}\r\nX-API-Key: {KEY}\r\nContent-Type: application/json\r\n"
    answer = raw(inside.server, f"{head}{AMBIGUOUS[kind]}{PREFIX}".encode())
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1, answer
    mark = f"/mine-{secrets.token_hex(8)}"
    assert inside.get(mark).json()["target"] == mark
    assert inside.server.http.get("/healthz").status_code == 200


def create_bytes(server: Server, body: bytes, chunked: bool = False) -> bytes:
    head = f"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-API-Key: {KEY}\r\n"
    head += "Content-Type: application/json\r\nConnection: close\r\n"
    if not chunked:
        return raw(server, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    pieces = [body[place : place + 60_000] for place in range(0, len(body), 60_000)]
    text = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return raw(server, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + text + b"0\r\n\r\n")


def test_o26_m13_bad_json_changes_nothing(server: Server) -> None:
    before = server.http.get("/v1/sessions").text
    prompt = '{"user_id":"u","prompt":'
    bodies = [
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b'{"prompt":' + b"9" * 10**6 + b"}",
    ]
    bodies += [
        f"{prompt}{text}}}".encode() for text in ("NaN", '"\\ud800"', '"a\\u0000b"', '"a","prompt":"b"')
    ]
    bodies += [b"", b"\xff\xfe", prompt.encode() + b'"\xff"}', b"{}" * 9]
    with healthy(server):
        for body in bodies:
            assert create_bytes(server, body).startswith(b"HTTP/1.1 400 "), body[:50]
        large = json.dumps({"user_id": "u", "prompt": ""}).encode().ljust(2**20 + 1)
        assert create_bytes(server, large, chunked=True).startswith(b"HTTP/1.1 413 ")
        head = f"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-API-Key: {KEY}\r\n"
        declared = f"{head}Connection: close\r\nContent-Length: {12 * len(large)}\r\n\r\n"
        assert raw(server, declared.encode()).startswith(b"HTTP/1.1 413 ")
        assert raw(server, declared.encode() + 12 * large).startswith(b"HTTP/1.1 413 ")
    assert server.http.get("/v1/sessions").text == before


def test_o28_long_prompts_are_quickly_titled(server: Server) -> None:
    """A megabyte is refused; the longest that is taken, made to be hard to read, costs no noticeable time."""
    too_long = json.dumps({"user_id": "u", "prompt": "Build a " * 130_000}).encode()
    longest = json.dumps({"user_id": "u", "prompt": "Build a " * 24_990}).encode()
    with healthy(server, 0.5):
        assert create_bytes(server, too_long).startswith(b"HTTP/1.1 413 ")
        answer = create_bytes(server, longest)
    assert answer.startswith(b"HTTP/1.1 201 "), answer[:500]
    server.delete(json.loads(answer.partition(b"\r\n\r\n")[2]))


def test_o35_creates_at_once_do_not_pass_the_quota(inside: Inside) -> None:
    server = inside.server

    def create(_: int) -> int:
        body = {"prompt": "say 1 words", "user_id": "quota"}
        return server.http.post("/v1/sessions", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(create, range(24)))
    mine = server.http.get("/v1/sessions", params={"user_id": "quota", "limit": "100"}).json()["data"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(server.delete, mine))
    assert set(statuses) == {201, 429} and statuses.count(201) == len(mine) < 10


@contextmanager
def slow_clients(server: Server, sent: bytes, count: int) -> Iterator[list[socket.socket]]:
    clients = []
    try:
        for _ in range(count):
            clients.append(socket.create_connection(("127.0.0.1", server.port), 10))
            clients[-1].sendall(sent)
        yield clients
    finally:
        for client in clients:
            client.close()


def closed(client: socket.socket) -> bool:
    """Whether the other side has hung up; what it said before is read."""
    client.setblocking(False)
    with suppress(BlockingIOError):
        try:
            while client.recv(65536):
                pass
        except ConnectionError:
            pass
        return True
    return False


def trickle(clients: list[socket.socket]) -> bool:
    """Send another byte to all that are open; whether none is."""
    left = [client for client in clients if not closed(client)]
    for client in left:
        with suppress(ConnectionError):
            client.send(b"x")
    return not left


HEADS = {
    "nothing": ("", 100),
    "half a head": ("GET / HTTP/1.1\r\nHost: {preview}\r\nX: ", 150),
    "half a head for the API": ("GET /healthz HTTP/1.1\r\nHost: {api}\r\nX: ", 150),
    "a long half of a head": ("GET /healthz HTTP/1.1\r\nHost: {api}\r\nX: {long}", 20),
    "half a second head for the API": (
        "GET /healthz HTTP/1.1\r\nHost: {api}\r\n\r\nGET /healthz HTTP/1.1\r\nX: ",
        40,
    ),
    "half a second head": ("GET / HTTP/1.1\r\nHost: {preview}\r\n\r\nGET / HTTP/1.1\r\nX: ", 40),
}


def test_o40_500_slow_clients_harm_nobody_and_are_hung_up_on(inside: Inside) -> None:
    server = inside.server
    names = {
        "preview": inside.session["previewUrl"].removeprefix("http://"),
        "api": f"127.0.0.1:{server.port}",
    }
    open_ones: dict[str, list[socket.socket]] = {}
    with healthy(server), slow_clients(server, b"", 0) as everybody:
        for kind, (text, count) in HEADS.items():
            sent = text.format(long="x" * 70_000, **names).encode()
            with slow_clients(server, sent, count) as some:
                open_ones[kind] = [client.dup() for client in some]
            everybody += open_ones[kind]
        assert inside.get("/served").json()["target"] == "/served"
        deadline = time.monotonic() + 30
        while not trickle(everybody) and time.monotonic() < deadline:
            time.sleep(0.5)
        left = {kind: sum(not closed(one) for one in some) for kind, some in open_ones.items()}
    assert not any(left.values()), left


@pytest.mark.skipif(not SLOW, reason="takes 31 s; OPENSESSIONS_SLOW_TESTS=1 runs it")
def test_o40_a_slow_body_is_given_up(server: Server) -> None:
    head = f"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nX-API-Key: {KEY}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    with slow_clients(server, head.encode(), 50) as clients:
        until(lambda: trickle(clients), 40, pause=1)


async def test_o34_m12_the_documentation_asks_nobody_else(inside: Inside) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        page = await browser.new_page()
        page.on("request", note)
        await page.goto(f"{inside.server.url}/docs", wait_until="networkidle")
        text = await page.inner_text("body")
        await browser.close()
    assert "/v1/sessions" in text and asked
    assert not [url for url in asked if not url.startswith((inside.server.url, "data:", "blob:"))]
