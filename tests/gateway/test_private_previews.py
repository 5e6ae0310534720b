"""Private previews through the real data plane and the real door: who gets in, and what the app sees."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from gateway.private import COOKIE_SECONDS, Private
from gateway.trial import TrialPreviews
from opensessions.access.tokens import preview_token, session_token
from opensessions.models import SandboxStatus, Session, Status
from tests.gateway.test_previews import MASTER, NAVIGATION, A, Answer, B, Stage, closing, session_of

OWN = {"Sec-Fetch-Site": "same-origin"}
SOCKET = {"Connection": "Upgrade", "Upgrade": "websocket"}


SWITCH = b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi"


def answer(head: bytes) -> bytes:
    """What the app answers: the head that it saw, and cookies, one of which is not its to set."""
    cookies = b"Set-Cookie: __Host-os_pass=evil; Path=/\r\nSet-Cookie: a=b\r\n"
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(head), cookies, head)


class Guarded(Stage):
    """A private preview of sandbox A whose app answers with the head that it saw; tokens are good for it."""

    async def open(self) -> None:
        await super().open()
        await self.sandbox(A)
        self.number = 0
        self.change(preview="private")
        self.inner = await self.echo()
        self.host = f"{A}-p{self.inner}.{self.domain}"
        self.callback.answer = lambda path: httpx2.Response(
            200, json={"port": self.inner, "number": self.number}
        )

    def change(self, **fields: object) -> Session:
        self.sessions[A] = self.sessions[A].model_copy(update=fields)
        return self.sessions[A]

    async def echo(self) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.kept.append(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(SWITCH if b"upgrade: websocket" in head.lower() else answer(head))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def visit(self, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        return await self.ask(method, self.host, path, **headers)

    async def enter(self) -> str:
        """The cookie that a token buys."""
        answer = await self.visit(f"/?os_token={self.token()}", **NAVIGATION)
        assert answer.status == 302, answer
        return answer.headers["set-cookie"].partition(";")[0]

    def token(self) -> str:
        return preview_token(self.sessions[A].id)

    def cookie(self, **more: object) -> str:
        """A cookie made by hand."""
        told: dict[str, object] = {"master": MASTER, "seconds": 0, "port": self.inner, "number": 0, "id": A}
        told |= more
        session = session_of(str(told["id"])).model_copy(update={"revocations": told["number"]})
        seconds = float(str(told["seconds"]))
        private = Private(told["master"], self.callback.client(), lambda: time.time() + seconds)  # type: ignore[arg-type]
        return private.gate(session, int(str(told["port"]))).cookie().partition(";")[0]

    async def socket(self, **headers: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.kept.append(writer)
        fields = "".join(f"{name}: {value}\r\n" for name, value in {**SOCKET, **headers}.items())
        writer.write(f"GET /hmr HTTP/1.1\r\nHost: {self.host}\r\n{fields}\r\n".encode())
        return await reader.readuntil(b"\r\n\r\n"), reader, writer


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Guarded]:
    made = Guarded(tmp_path)
    async with closing(made):
        yield made


async def test_O08_without_a_cookie_it_is_401_and_a_navigation_gets_a_page_that_says_so(
    stage: Guarded,
) -> None:
    page = await stage.visit(**NAVIGATION)
    assert (page.status, page.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert b"This preview is private" in page.body and b"<script" not in page.body
    plain = await stage.visit()
    assert (plain.status, plain.headers["content-type"]) == (401, "application/json")
    assert (await stage.visit(method="POST")).status == 401


async def test_O08_a_token_leads_to_the_address_without_it_and_sets_the_cookie(stage: Guarded) -> None:
    token = stage.token()
    answer = await stage.visit(f"/a/b?x=1&os_token={token}&y=2", **NAVIGATION)
    assert (answer.status, answer.headers["location"]) == (302, "/a/b?x=1&y=2")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    pattern = r"__Host-os_pass=\d+\.[0-9a-f]{64}; Max-Age=3600; Path=/; Secure; HttpOnly; SameSite=None; "
    assert re.fullmatch(pattern + "Partitioned", answer.headers["set-cookie"])
    assert stage.callback.to("/callback/v1/visits") == [{"token": token}]
    cookie = answer.headers["set-cookie"].partition(";")[0]
    seen = await stage.visit("/page", Cookie=f"mine=1; {cookie}; theirs=2", **NAVIGATION)
    assert seen.status == 200 and b"Cookie: mine=1; theirs=2" in seen.body
    assert b"os_pass" not in seen.body and seen.headers["set-cookie"] == "a=b"


async def test_O08_what_is_no_good_token_is_401_and_asks_nobody_twice(stage: Guarded) -> None:
    foreign, session = preview_token(session_of(B).id), session_token(stage.sessions[A].id)
    for wrong in ("", "x", foreign, session, stage.token() + "0", stage.token().upper()):
        assert (await stage.visit(f"/?os_token={wrong}", **NAVIGATION)).status == 401
    assert stage.callback.to("/callback/v1/visits") == []
    for method in ("HEAD", "POST", "PUT"):  # what a chat program's look at a link may be
        assert (await stage.visit(f"/?os_token={stage.token()}", method)).status == 401
    assert stage.callback.to("/callback/v1/visits") == []
    for verdict in (
        httpx2.Response(401),
        httpx2.Response(200, json={"port": stage.inner + 1, "number": 0}),
        httpx2.Response(200, json={"port": stage.inner, "number": 1}),
    ):
        stage.callback.answer = lambda path, verdict=verdict: verdict  # type: ignore[misc]
        answer = await stage.visit(f"/?os_token={stage.token()}", **NAVIGATION)
        assert answer.status == 401 and "set-cookie" not in answer.headers


async def test_O08_the_way_without_the_token_stays_on_this_host(stage: Guarded) -> None:
    for path in ("//evil.test", "///evil.test", "/\\evil.test", "/\\/evil.test"):
        answer = await stage.visit(f"{path}?os_token={stage.token()}")
        assert (answer.status, answer.headers["location"]) == (302, "/evil.test")


async def test_cookies_are_of_one_port_of_one_sandbox_for_a_time(stage: Guarded) -> None:
    assert (await stage.visit(Cookie=stage.cookie())).status == 200
    assert (await stage.visit(Cookie=f"__Host-os_pass=1.{'0' * 64}; {stage.cookie()}")).status == 200
    good = stage.cookie()
    later = re.sub(r"=(\d+)", lambda found: f"={int(found[1]) + 1}", good)
    for wrong in (
        stage.cookie(master=b"x" * 32), stage.cookie(seconds=-COOKIE_SECONDS), stage.cookie(number=1),
        stage.cookie(port=stage.inner + 1), stage.cookie(id=B), later, good[:-1],
        good.replace("Host", "host"), f"x{good}", good.partition("=")[2],
    ):  # fmt: skip
        assert (await stage.visit(Cookie=wrong)).status == 401, wrong


async def test_a_cookie_of_which_half_is_over_is_given_anew(stage: Guarded) -> None:
    assert (await stage.visit(Cookie=stage.cookie(seconds=-1700))).headers["set-cookie"] == "a=b"
    for host in (stage.host, f"{A}-p{stage.inner}.{stage.domain}"):
        answer = await stage.ask("GET", host, Cookie=stage.cookie(seconds=-1900))
        assert "__Host-os_pass=" in answer.headers["set-cookie"]
    waits = stage.cookie(seconds=-1900, port=1999)
    answer = await stage.ask("GET", f"{A}-p1999.{stage.domain}", Cookie=waits, **NAVIGATION)
    assert answer.status == 503 and "__Host-os_pass=" in answer.headers["set-cookie"]


REFUSED: list[tuple[str, dict[str, str]]] = [
    ("POST", {"Sec-Fetch-Site": "cross-site"}),
    ("POST", {"Sec-Fetch-Site": "same-site"}),
    ("POST", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ("POST", {"Origin": "https://evil.test"}),
    ("POST", {"Origin": "null"}),
    ("OPTIONS", {"Origin": "https://evil.test", "Access-Control-Request-Method": "PUT"}),
    ("GET", {"Origin": f"https://{B}-p3000.preview.test"}),
    ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}),
    ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"}),
    ("GET", {**OWN, "Service-Worker": "script"}),
]
TAKEN: list[tuple[str, dict[str, str]]] = [
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
    ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
    ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
    ("GET", {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
    ("POST", OWN),
    ("GET", {}),
]


@pytest.mark.parametrize(("method", "headers"), REFUSED)
async def test_O11_O13_O14_other_pages_get_nothing_with_a_visitors_cookie(
    stage: Guarded, method: str, headers: dict[str, str]
) -> None:
    for cookie in (await stage.enter(), "none=1"):
        answer = await stage.visit("/x", method, Cookie=cookie, **headers)
        assert answer.status in (401, 403) and b"/x" not in answer.body
    assert answer.status == 403


@pytest.mark.parametrize(("method", "headers"), TAKEN)
async def test_its_own_pages_links_and_frames_of_others_work(
    stage: Guarded, method: str, headers: dict[str, str]
) -> None:
    cookie = await stage.enter()
    assert (await stage.visit("/x", method, Cookie=cookie, **headers)).status == 200
    own = {"Origin": f"https://{stage.host}"} | headers
    assert (await stage.visit("/x", method, Cookie=cookie, **own)).status == 200


async def test_O10_a_socket_is_for_its_own_page_with_the_cookie(stage: Guarded) -> None:
    cookie, own = await stage.enter(), f"https://{stage.host}"
    head, reader, _ = await stage.socket(Cookie=cookie, Origin=own, **OWN)
    assert head.startswith(b"HTTP/1.1 101") and await reader.readexactly(2) == b"hi"
    for origin in (f"https://{B}-p3000.preview.test", f"https://{stage.host}.evil.test", "null"):
        assert (await stage.socket(Cookie=cookie, Origin=origin))[0].startswith(b"HTTP/1.1 403"), origin
    assert (await stage.socket(Cookie=cookie))[0].startswith(b"HTTP/1.1 403")
    assert (await stage.socket(Origin=own))[0].startswith(b"HTTP/1.1 401")


async def closed(stage: Guarded, within: float, *, told: bool) -> None:
    cookie = stage.cookie(number=stage.number)
    _, reader, _ = await stage.socket(Cookie=cookie, Origin=f"https://{stage.host}")
    await reader.readexactly(2)

    stage.number += 1
    revoked = stage.change(revocations=stage.number)
    if told:
        stage.previews.changed(revoked.id)
    async with asyncio.timeout(within):
        assert await reader.read() == b""
    assert (await stage.visit(Cookie=cookie)).status == 401
    assert (await stage.visit(Cookie=stage.cookie(number=stage.number))).status == 200


async def test_a_revocation_cuts_sockets_when_it_is_told_and_else_within_seconds(
    stage: Guarded,
) -> None:
    watching = asyncio.create_task(stage.previews.watch(60))
    try:
        await closed(stage, 1, told=True)
        await closed(stage, 4, told=False)
    finally:
        watching.cancel()


async def test_the_end_of_the_session_cuts_sockets_and_its_cookies_open_nothing(stage: Guarded) -> None:
    cookie = await stage.enter()
    _, reader, _ = await stage.socket(Cookie=cookie, Origin=f"https://{stage.host}")
    ended = stage.change(head=session_of(A, Status.ENDED, SandboxStatus.STOPPED).head)
    stage.previews.changed(ended.id)
    async with asyncio.timeout(2):
        await reader.read()
    assert (await stage.visit(Cookie=cookie)).status == 410
    assert (await stage.visit(f"/?os_token={stage.token()}", **NAVIGATION)).status == 410


async def test_a_new_number_that_was_not_told_yet_opens_nothing_old(stage: Guarded) -> None:
    old = await stage.enter()
    assert (await stage.visit(Cookie=old)).status == 200
    stage.change(revocations=1)
    stage.number = 1
    fresh = await stage.enter()  # this gateway learns of it now, when the visitor comes
    await stage.ask("GET", f"{A}-p{stage.inner}.{stage.domain}:443", Cookie=fresh)
    assert (await stage.visit(Cookie=old)).status == 401
    assert (await stage.visit(Cookie=fresh)).status == 200


async def test_a_sleeping_one_tells_strangers_nothing_and_is_not_woken_by_them(stage: Guarded) -> None:
    asleep = session_of(A, Status.READY, SandboxStatus.HIBERNATED).head
    stage.change(head=asleep)
    page = await stage.visit(**NAVIGATION)
    assert page.status == 401 and b"My app" not in page.body
    assert stage.callback.to("/callback/v1/wakes") == [] and stage.callback.to("/callback/v1/uses") == []
    assert (await stage.visit(Cookie=stage.cookie(), **NAVIGATION)).status == 503
    async with asyncio.timeout(2):
        while not stage.callback.to("/callback/v1/wakes"):
            await asyncio.sleep(0.01)


async def test_a_public_preview_is_led_to_its_address_without_a_token(stage: Guarded) -> None:
    stage.change(preview="public")
    answer = await stage.visit(f"/x?os_token={stage.token()}")
    assert (answer.status, answer.headers["location"]) == (302, "/x")
    assert stage.callback.to("/callback/v1/visits") == []
    assert (await stage.visit("/x", **{"Sec-Fetch-Site": "cross-site"})).status == 200


async def test_under_one_name_private_previews_are_not_shown(tmp_path: Path) -> None:
    stage = Guarded(tmp_path, TrialPreviews, "d111.cloudfront.test")
    async with closing(stage):
        chosen = f"__Host-os_preview={A}-p{stage.inner}; {stage.cookie()}"
        answer = await stage.ask("GET", stage.domain, Cookie=chosen)
        assert answer.status == 403 and b"one name" in answer.body
