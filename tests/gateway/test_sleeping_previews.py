"""Previews of sessions that sleep: who wakes them, what is said meanwhile, and what comes after."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from gateway.trial import TrialPreviews
from opensessions.models import SandboxStatus, Status
from tests.gateway.test_previews import NAVIGATION, A, Stage, closing, session_of

HOST = f"{A}-p3000.preview.test"
POLL = {"Accept": "application/x-preview-waiting"}
WAKES, USES = "/callback/v1/wakes", "/callback/v1/uses"
SESSION = session_of(A).id


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(tmp_path)
    async with closing(made):
        made.sessions[A] = session_of(A, Status.READY, SandboxStatus.HIBERNATED)
        yield made


async def comes(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "asked",
    [NAVIGATION, {"Sec_Fetch_Dest": "iframe"}, {"Sec_Fetch_Dest": "empty"}, {"Accept": "application/json"}],
    ids=["page", "frame", "fetch", "program"],
)
async def test_a_visit_wakes_the_session_once(stage: Stage, asked: dict[str, str]) -> None:
    answers = [await stage.get(HOST, **asked) for _ in range(3)]
    assert all(b"it is waking up" in answer.body for answer in answers)
    assert {answer.status for answer in answers} <= {502, 503}
    await comes(lambda: stage.callback.to(WAKES))
    assert stage.callback.to(WAKES) == [{"session_id": SESSION}]


async def test_a_session_that_soon_sleeps_again_is_woken_again(stage: Stage) -> None:
    for launch in (1, 2):
        stage.sessions[A] = stage.sessions[A].model_copy(update={"launch": launch})
        await stage.get(HOST, **NAVIGATION)
        await comes(lambda launch=launch: len(stage.callback.to(WAKES)) == launch)


@pytest.mark.parametrize(
    "asked",
    [
        POLL,
        {"Accept": "text/x-vite-ping", "Sec_Fetch_Dest": "empty"},
        {"Sec_Fetch_Dest": "script"},
        {"Sec_Fetch_Dest": "image"},
        {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_Fetch_Dest": "empty"},
        {**NAVIGATION, "Sec_Purpose": "prefetch"},
    ],
    ids=["waiting page", "vite", "script", "image", "websocket", "prefetch"],
)
async def test_what_comes_by_itself_lets_it_sleep(stage: Stage, asked: dict[str, str]) -> None:
    answer = await stage.get(HOST, **asked)
    assert answer.status in (502, 503) and b"waking" not in answer.body
    if asked is POLL:
        told = json.loads(answer.body)
        assert told["state"].startswith("The session sleeps.") and not told["busy"]
    await asyncio.sleep(0.05)
    assert not stage.callback.asked


async def test_the_waiting_page_says_that_it_wakes_up(stage: Stage) -> None:
    page = await stage.get(HOST, **NAVIGATION)
    assert (page.status, page.headers["retry-after"]) == (503, "1")
    told = json.loads((await stage.get(HOST, **POLL)).body)
    assert (told["state"], told["busy"]) == ("The session slept; it is waking up.", True)
    waking = session_of(A, Status.READY, SandboxStatus.STARTING)
    stage.sessions[A] = waking
    told = json.loads((await stage.get(HOST, **POLL)).body)
    assert told["state"] == "The sandbox is starting." and told["busy"]


async def test_a_callback_that_is_away_is_asked_again(stage: Stage) -> None:
    statuses = iter((500, 503, 204))
    stage.callback.answer = lambda path: httpx2.Response(next(statuses))
    await stage.get(HOST, **NAVIGATION)
    await comes(lambda: len(stage.callback.asked) == 3)


async def test_why_it_cannot_be_woken_is_said(stage: Stage) -> None:
    reason = "You have 10 live sessions, which is as many as you may."
    answer = httpx2.Response(429, json={"error": {"type": "rate_limited", "message": reason}})
    stage.callback.answer = lambda path: answer
    await stage.get(HOST, **NAVIGATION)
    await comes(lambda: stage.wakes.refusal((SESSION, 1)))
    told = json.loads((await stage.get(HOST, **POLL)).body)
    assert told["state"].endswith(reason) and not told["busy"]
    assert len(stage.callback.asked) == 1


async def test_a_session_that_falls_asleep_and_wakes_elsewhere_is_reached_there(stage: Stage) -> None:
    await stage.sandbox(A)
    port = await stage.app("before")
    host = f"{A}-p{port}.preview.test"
    assert (await stage.get(host)).body.startswith(b"before")
    stage.sessions[A] = session_of(A, Status.READY, SandboxStatus.HIBERNATED)
    stage.previews.changed(SESSION)
    stage.doors.pop(A).unlink()
    assert b"waking up" in (await stage.get(host, **NAVIGATION)).body
    stage.folder = stage.folder / "elsewhere"
    stage.folder.mkdir()
    await stage.sandbox(A)
    assert (await stage.get(host)).body.startswith(b"before")


async def test_what_is_open_when_it_falls_asleep_is_cut(stage: Stage) -> None:
    await stage.sandbox(A)
    port = await stage.app("app")
    host = f"{A}-p{port}.preview.test"
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(f"GET /slow HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    stage.sessions[A] = session_of(A, Status.READY, SandboxStatus.HIBERNATED)
    stage.previews.changed(SESSION)
    await comes(lambda: not stage.previews._shown)
    assert b"waking up" in (await stage.get(host, **NAVIGATION)).body
    writer.close()


async def test_requests_are_uses_and_the_waiting_pages_own_are_none(stage: Stage) -> None:
    await stage.sandbox(A)
    port = await stage.app("app")
    host = f"{A}-p{port}.preview.test"
    assert (await stage.get(host, **POLL)).status == 200
    assert (await stage.get(f"{A}-p3999.preview.test", **POLL)).status == 503
    await asyncio.sleep(0.05)
    assert not stage.callback.asked
    for _ in range(3):
        assert (await stage.get(host)).status == 200
    await comes(lambda: stage.callback.asked)
    await asyncio.sleep(0.05)
    assert stage.callback.asked == [(USES, {"session_ids": [SESSION]})]


async def test_a_websocket_is_a_use_once_it_is_open(stage: Stage) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        switch = b"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(b"HTTP/1.1 " + (switch if b"/open" in head else b"404 No\r\nContent-Length: 0\r\n\r\n"))
        writer.close()

    await stage.sandbox(A)
    app = await asyncio.start_server(serve, "127.0.0.1", 0)
    stage.servers.append(app)
    host = f"{A}-p{app.sockets[0].getsockname()[1]}.preview.test"
    for path, uses in (("/no", 0), ("/open", 1)):
        reader, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        asked = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        writer.write(asked.encode())
        assert await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await comes(lambda uses=uses: len(stage.callback.asked) == uses)


async def test_under_one_name_a_choice_wakes_nothing_and_the_page_does(tmp_path: Path) -> None:
    made = Stage(tmp_path, TrialPreviews, "d111.cloudfront.test")
    async with closing(made):
        made.sessions[A] = session_of(A, Status.READY, SandboxStatus.HIBERNATED)
        chosen = await made.get(made.domain, f"/~/{A}-p3000/", **NAVIGATION)
        assert chosen.status == 303 and not made.callback.asked
        cookie = chosen.headers["set-cookie"].partition(";")[0]
        page = await made.get(made.domain, "/", Cookie=cookie, **NAVIGATION)
        assert page.status == 503 and b"waking up" in page.body
        await comes(lambda: made.callback.to(WAKES))
