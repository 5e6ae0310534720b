"""The event stream of a session, over a real port."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.gateway.stream_parts import KEY, S1, WITH_KEY, Frame, Frames, Public, public, until

ORIGIN = {"Origin": "https://product.example"}


async def test_a_stream_replays_then_goes_on_and_closes_when_the_session_ends() -> None:
    async with public() as side, side.watch() as frames:
        assert [frame.json["seq"] for frame in await frames.take(3)] == [1, 2, 3]
        side.say(text="now")
        assert await frames.next() == Frame(
            "message",
            '{"text":"now","id":"evt_4","seq":4,"type":"assistant","level":"info",'
            '"createdAt":"2026-11-24T00:00:00.000Z"}',
            "4",
        )
        side.say(type="session_ended")
        side.say()  # whatever comes behind the end is not shown
        assert [frame.json["type"] async for frame in frames] == ["session_ended"]
        assert frames.raw.startswith(b"retry: 1000\n\nid: 1\ndata: {")
        assert b"event:" not in frames.raw


async def test_the_answer_is_an_event_stream_that_nothing_may_buffer() -> None:
    async with public() as side, side.watch(headers=ORIGIN) as frames:
        headers = frames.answer.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["access-control-allow-origin"] == ORIGIN["Origin"]


async def test_the_first_frame_follows_the_place_that_the_client_names() -> None:
    cases: list[tuple[dict[str, str], dict[str, str], int]] = [
        ({}, {}, 1),
        ({}, {"after": "2"}, 3),
        ({"Last-Event-ID": "2"}, {}, 3),
        ({"Last-Event-ID": "2"}, {"after": "0"}, 3),
        ({"Last-Event-ID": "0"}, {"after": "2"}, 1),
        ({"Last-Event-ID": ""}, {"after": "1"}, 2),
        ({}, {"after": "0", "user_id": "u1", "deltas": "0"}, 1),
    ]
    async with public() as side:
        for headers, query, first in cases:
            async with side.watch(headers=headers, **query) as frames:
                assert (await frames.next()).json["seq"] == first, (headers, query)


async def test_a_bad_parameter_is_refused_by_name() -> None:
    cases: list[tuple[dict[str, str], dict[str, str]]] = [
        *(({}, {"after": bad}) for bad in ("", "-1", "1.5", "x", "٣", "9" * 13, "0x1", " 1", "1_0")),
        *(({"Last-Event-ID": bad}, {}) for bad in ("-1", "evt_1", "9" * 40)),
        ({"Last-Event-ID": "x"}, {"after": "1"}),
        ({}, {"deltas": "yes"}),
        ({}, {"deltas": ""}),
        ({}, {"user_id": ""}),
    ]
    async with public() as side:
        for headers, query in cases:
            answer = await side.client.get(side.path(**query), headers=WITH_KEY | headers)
            assert answer.status_code == 400, (headers, query)
            assert answer.json()["error"]["field"] == [*headers, *query][0]


async def test_each_way_to_show_the_key() -> None:
    cases: list[tuple[dict[str, str], dict[str, str]]] = [
        (WITH_KEY, {}),
        ({"Authorization": f"Bearer {KEY}"}, {}),
        ({}, {"api_key": KEY}),
        (WITH_KEY, {"api_key": "osb_wrong"}),
    ]
    async with public() as side:
        for headers, query in cases:
            async with side.client.stream("GET", side.path(**query), headers=headers) as answer:
                assert answer.status_code == 200, (headers, query)


@pytest.mark.parametrize("allowed", [True, False])
async def test_without_a_good_key_nothing_is_shown(allowed: bool) -> None:
    cases: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({"X-API-Key": "osb_wrong"}, {}),
        ({"X-API-Key": "osb_wrong"}, {"api_key": KEY}),
        ({"Authorization": f"Basic {KEY}"}, {}),
        ({}, {"api_key": ""}),
        ({}, {"token": KEY}),
        ({}, {"api_key": "osb_wrong" if allowed else KEY}),
    ]
    async with public(allow_query_key=allowed) as side:
        for headers, query in cases:
            answer = await side.client.get(side.path("unknown", **query), headers=headers | ORIGIN)
            assert answer.status_code == 401, (headers, query)
            assert answer.json()["error"]["type"] == "unauthorized"
            assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]


async def test_unknown_and_foreign_sessions_are_the_same_404() -> None:
    none = S1[:-1] + "2"
    async with public() as side:
        texts = set()
        for session, user in [
            (none, "u1"),
            (S1, "u2"),
            (S1[:-1], "u1"),
            (S1 + "%0A", "u1"),
            (S1.upper(), "u1"),
        ]:
            answer = await side.client.get(side.path(session, user_id=user), headers=WITH_KEY | ORIGIN)
            assert answer.status_code == 404, (session, user)
            error = answer.json()["error"]
            texts.add((error["type"], error["message"]))
            assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        assert texts == {("not_found", "Session not found")}


async def test_only_get_is_possible() -> None:
    async with public() as side:
        for method in ("HEAD", "POST", "PUT", "DELETE", "PATCH"):
            answer = await side.client.request(method, side.path(), headers=WITH_KEY)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
            assert method == "HEAD" or answer.json()["error"]["type"] == "invalid_request"


async def test_who_comes_back_to_an_ended_session_with_nothing_left_to_get_is_sent_away() -> None:
    async with public() as side:
        side.say(type="session_ended")
        async with side.watch(after=1) as frames:
            assert [frame.id async for frame in frames] == ["2", "3", "4"]
        for headers in ({"Last-Event-ID": "4"}, {"Last-Event-ID": "9"}):
            answer = await side.client.get(side.path(after=0), headers=WITH_KEY | headers | ORIGIN)
            assert (answer.status_code, answer.content) == (204, b"")
            assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        assert not side.hub.watching(S1)


async def test_a_silent_stream_pings() -> None:
    async with public(heartbeat_seconds=0.02) as side, side.watch(after=3) as frames:
        assert await frames.take(3) == [Frame("ping", "", "")] * 3
        side.say()
        while (frame := await frames.next()).event == "ping":
            pass
        assert frame.id == "4"
        assert frames.raw.startswith(b"retry: 1000\n\nevent: ping\ndata:\n\nevent: ping\ndata:\n\n")


async def test_deltas_come_before_their_frame_and_change_nothing_else() -> None:
    async with public() as side, side.watch(deltas=1) as curious, side.watch() as plain:
        await curious.take(3)
        await plain.take(3)
        assert side.hub.wants_deltas(S1)
        for text in ("Hel", "lo\n\n"):
            side.hub.delta(S1, text)
        assert await curious.take(2) == [
            Frame("delta", '{"text":"Hel"}', ""),
            Frame("delta", '{"text":"lo\\n\\n"}', ""),
        ]
        side.say(text="Hello\n\n")
        side.say(type="session_ended")
        assert [f async for f in curious] == [f async for f in plain]
        numbered = [block for block in curious.raw.split(b"\n\n") if not block.startswith(b"event: delta")]
        assert b"\n\n".join(numbered) == plain.raw


async def test_what_no_json_can_hold_does_not_break_a_stream() -> None:
    async with public() as side, side.watch(after=3) as frames:
        side.say(text="line\r\nnext \u2028 ü", number=float("nan"))
        frame = await frames.next()
        assert frame.json["text"] == "line\r\nnext \u2028 ü" and frame.json["number"] is None


async def test_another_rendering_is_a_parameter() -> None:
    async with (
        public(render=lambda event: b"id: %d\ndata: other\n\n" % event.seq) as side,
        side.watch(after=2) as frames,
    ):
        assert await frames.next() == Frame("message", "other", "3")


async def test_a_client_cut_off_50_times_sees_each_event_once_in_order() -> None:
    chance = random.Random(7)
    got: list[int] = []
    async with public() as side:
        writing = asyncio.create_task(write(side, chance, lambda: cuts >= 50))
        cuts, over = 0, False
        while not over:
            headers = {"Last-Event-ID": str(got[-1])} if got else {}
            async with side.watch(headers=headers, after=0) as frames:
                stay = chance.randrange(0, 6) if cuts < 50 else 10**6
                over = await follow(frames, got, stay)
                cuts += 1
        await writing
        answer = await side.client.get(side.path(after=0), headers=WITH_KEY | {"Last-Event-ID": str(got[-1])})
        assert answer.status_code == 204
    assert cuts > 50
    assert got == list(range(1, len(side.sessions.events[S1]) + 1))


async def write(side: Public, chance: random.Random, enough: object) -> None:
    assert callable(enough)
    while not enough():
        side.say(count=chance.randrange(1, 4), blob="x" * chance.randrange(3000))
        await asyncio.sleep(0.002)
    side.say(type="session_ended")


async def follow(frames: Frames, got: list[int], stay: int) -> bool:
    """Read `stay` frames at most; whether the session's end was among them."""
    async for frame in frames:
        if stay == 0:
            return False
        stay -= 1
        got.append(int(frame.id))
        if frame.json["type"] == "session_ended":
            return True
    raise AssertionError("the stream closed before the session's end")


async def test_200_clients_watch_one_session() -> None:
    async with public() as side:

        async def watch() -> list[str]:
            async with side.watch() as frames:
                return [frame.id async for frame in frames]

        limits = httpx2.Limits(max_connections=300)
        side.client = httpx2.AsyncClient(trust_env=False, limits=limits, timeout=30)
        async with side.client:
            watching = [asyncio.create_task(watch()) for _ in range(200)]
            await until(lambda: len(side.open_streams) == 200)
            before = side.sessions.reads
            for _ in range(30):
                side.say()
                await asyncio.sleep(0.001)
            side.say(type="session_ended")
            assert await asyncio.gather(*watching) == [[str(n) for n in range(1, 35)]] * 200
        assert side.sessions.reads - before <= 32
        await until(lambda: not side.hub.watching(S1))


async def test_m17_one_too_many_is_told_to_come_back_until_somebody_goes() -> None:
    async with public(watchers=2) as side, side.watch():
        side.sessions.add("session_" + "2" * 32)
        async with side.watch():
            for _ in range(2):
                answer = await side.client.get(side.path(), headers=WITH_KEY | ORIGIN)
                assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
                assert answer.json()["error"]["type"] == "rate_limited"
                assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
            async with side.watch("session_" + "2" * 32) as elsewhere:
                assert (await elsewhere.next()).id == "1"
        await until(lambda: side.hub.watching(S1) == 1)
        async with side.watch() as frames:
            assert (await frames.next()).id == "1"


@asynccontextmanager
async def clients_that_read_nothing(place: Path, count: int) -> AsyncIterator[None]:
    request = f"GET /v1/sessions/{S1}/events HTTP/1.1\r\nHost: h\r\nX-API-Key: {KEY}\r\n\r\n".encode()
    slow = [socket.socket(socket.AF_UNIX) for _ in range(count)]
    try:
        for connection in slow:
            connection.connect(str(place))
            connection.sendall(request)
            await asyncio.sleep(0)
        yield
    finally:
        for connection in slow:
            connection.close()


async def test_o40_500_clients_that_read_nothing_disturb_nobody(tmp_path: Path) -> None:
    place = tmp_path / "s"
    async with public(unix_socket=place) as side:
        side.sessions.add(S1, 40, blob="x" * 20_000)
        async with clients_that_read_nothing(place, 500):
            await until(lambda: len(side.open_streams) == 500, seconds=30)
            async with side.watch(after=43) as frames:
                side.say(text="served")
                assert (await frames.next()).json["text"] == "served"
        await until(lambda: len(side.open_streams) == 0, seconds=30)


async def test_o40_clients_that_read_nothing_are_given_up_and_those_with_nothing_to_read_are_not(
    tmp_path: Path,
) -> None:
    place = tmp_path / "s"
    async with public(unix_socket=place, stall_seconds=0.2) as side:
        side.sessions.add(S1, 40, blob="x" * 20_000)
        async with side.watch(after=43) as frames, clients_that_read_nothing(place, 10):
            await until(lambda: side.sessions.asked == 11)
            await until(lambda: len(side.open_streams) == 1)
            side.say(text="still here")
            assert (await frames.next()).json["text"] == "still here"


async def test_who_hangs_up_is_forgotten_at_once() -> None:
    async with public() as side:
        async with side.watch() as frames:
            await frames.take(3)
            assert side.hub.watching(S1)
        await until(lambda: not side.hub.watching(S1) and len(side.open_streams) == 0)


async def test_a_shutdown_sends_everybody_away_for_a_while_and_lets_nobody_in() -> None:
    async with public() as side, side.watch(after=3) as one, side.watch(after=3) as other:
        await until(lambda: len(side.open_streams) == 2)
        await side.open_streams.drain()
        assert [f async for f in one] == [f async for f in other] == []
        for frames in (one, other):
            head, last, rest = frames.raw.split(b"\n\n")
            assert (head, rest) == (b"retry: 1000", b"")
            assert 1000 <= int(last.removeprefix(b"retry: ")) < 5000
        answer = await side.client.get(side.path(), headers=WITH_KEY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.json()["error"]["type"] == "internal_error"
