"""What a sandbox says is stored once and seen at once, whatever fails on the way."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable

import httpx2
import pytest

from gateway.rates import Bucket, Buckets, Rates
from opensessions.errors import RateLimited
from opensessions.models import Event
from tests.fakes import Clock, World
from tests.gateway.model_parts import raw_exchange
from tests.gateway.sandbox_parts import sandbox_side

Deliver = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


class Between(httpx2.AsyncBaseTransport):
    """The way to the callback, with `fault` in it: it may deliver, or not, or lose the answer."""

    def __init__(self, fault: Callable[[httpx2.Request, Deliver], Awaitable[httpx2.Response]]) -> None:
        self.fault = fault
        self.requests: list[httpx2.Request] = []

    def __call__(self, real: httpx2.ASGITransport) -> httpx2.AsyncBaseTransport:
        self.real = real
        return self

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return await self.fault(request, self.real.handle_async_request)


def answering(status: int, headers: dict[str, str] | None = None, **body: object) -> Between:
    async def fault(request: httpx2.Request, deliver: Deliver) -> httpx2.Response:
        return httpx2.Response(status, headers=headers, json=body, request=request)

    return Between(fault)


async def test_a_batch_is_stored_acknowledged_and_seen_by_watchers_at_once(here: World) -> None:
    session = here.create()
    async with sandbox_side(here) as side:
        with side.hub.watch(session.id, session.head.last_seq, session.head.last_seq) as watcher:
            answer = await side.post(session, 1, "sandbox_ready", "configured")
            assert (answer.status_code, answer.json()) == (200, {"acked": 2, "expected": 3})
            items = await watcher.next(within=10)
            assert [item.type for item in items if isinstance(item, Event)] == ["sandbox_ready", "configured"]


async def test_what_tells_the_end_of_a_turn_waits_until_its_calls_are_counted(here: World) -> None:
    session, asked, counted = here.create(), list[str](), asyncio.Event()

    async def settled(session_id: str) -> None:
        asked.append(session_id)
        await counted.wait()

    async with sandbox_side(here, settled=settled) as side:
        posting = asyncio.ensure_future(side.post(session, 1, "sandbox_ready"))
        async with asyncio.timeout(10):
            while not asked:
                await asyncio.sleep(0.005)
        assert asked == [session.id] and here.now(session).head.agent_seq == 0
        counted.set()
        assert (await posting).json() == {"acked": 1, "expected": 2}


async def test_a_batch_that_comes_again_changes_nothing_and_a_gap_is_named(here: World) -> None:
    session = here.create()
    async with sandbox_side(here) as side:
        for _ in range(2):
            answer = await side.post(session, 1, "sandbox_ready")
            assert answer.json() == {"acked": 1, "expected": 2}
        answer = await side.post(session, 5, "interrupted")
        assert (answer.status_code, answer.json()["expected"]) == (409, 2)
        assert answer.json()["error"]["type"] == "conflict"
    assert here.types(session).count("sandbox_ready") == 1


async def test_the_body_is_handed_on_as_it_came(here: World) -> None:
    session, way = here.create(), answering(200, acked=1, expected=2, session_id="s", last_seq=9)
    raw = b'{ "first_seq":1,"events":[{"type":"no such type","text":"\\ud800"}], "x": NaN}  '
    async with sandbox_side(here, transport=way) as side:
        headers = {**side.bearer(session), "Content-Type": "application/json", "X-Other": "stays here"}
        answer = await side.client.post("/sandbox/v1/events", content=raw, headers=headers)
        assert answer.json() == {"acked": 1, "expected": 2}
    (request,) = way.requests
    assert (request.content, request.url.path) == (raw, "/callback/v1/events")
    assert request.headers["authorization"] == headers["Authorization"]
    assert "x-other" not in request.headers


async def test_a_verdict_on_the_batch_reaches_the_sandbox(here: World) -> None:
    session, statuses = here.create(), [400, 401, 409, 410, 413, 422, 429]
    body = {"error": {"type": "t"}, "expected": 3}
    left = iter(statuses)

    async def fault(request: httpx2.Request, deliver: Deliver) -> httpx2.Response:
        return httpx2.Response(next(left), headers={"Retry-After": "7", "X-Inner": "no"}, json=body)

    async with sandbox_side(here, transport=Between(fault)) as side:
        for status in statuses:
            answer = await side.post(session)
            assert (answer.status_code, answer.json()) == (status, body)
            assert answer.headers["retry-after"] == "7"
            assert "x-inner" not in answer.headers


async def test_a_fault_of_ours_is_something_to_try_again(here: World) -> None:
    session, statuses = here.create(), [200, 302, 403, 404, 405, 500, 502, 504]
    left = iter(statuses)

    async def fault(request: httpx2.Request, deliver: Deliver) -> httpx2.Response:
        return httpx2.Response(next(left), json={"error": "secret of ours"})

    async with sandbox_side(here, transport=Between(fault)) as side:
        for status in statuses:
            answer = await side.post(session)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), status
            assert answer.json()["error"]["type"] == "internal_error"
            assert "secret" not in answer.text


async def test_a_throttled_callback_is_waited_for(here: World) -> None:
    session = here.create()
    async with sandbox_side(here, transport=answering(429)) as side:
        answer = await side.post(session)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


async def test_whatever_is_lost_on_the_way_each_event_is_stored_once_in_order(here: World) -> None:
    chance, session = random.Random(3), here.create()

    async def fault(request: httpx2.Request, deliver: Deliver) -> httpx2.Response:
        match chance.randrange(6):
            case 0:
                raise httpx2.ConnectError("away", request=request)
            case 1:
                return httpx2.Response(500, request=request)
            case 2:
                await deliver(request)
                raise httpx2.ReadTimeout("the answer got lost", request=request)
            case 3:
                await deliver(request)
                return httpx2.Response(502, request=request)
        return await deliver(request)

    rates = Rates(posts=10_000, posts_burst=10_000)
    async with sandbox_side(here, transport=Between(fault), rates=rates) as side:
        expected = 1
        while expected <= 30:
            names = ["turn_started", "interrupted"][: chance.randrange(1, 3)]
            answer = await side.post(session, expected, *names)
            if answer.status_code == 200:
                expected = answer.json()["expected"]
            else:
                assert answer.status_code in (503, 409)
                expected = answer.json().get("expected", expected)
    stored = here.store.events(session.id, 0, 1000)
    assert [event.seq for event in stored] == list(range(1, len(stored) + 1))
    assert here.now(session).head.agent_seq == expected - 1 == len(stored) - session.head.last_seq


async def test_without_a_good_token_nothing_is_handed_on(here: World) -> None:
    way = answering(200)
    async with sandbox_side(here, transport=way) as side:
        for value in ("", "Bearer x", "Basic abc"):
            answer = await side.client.post("/sandbox/v1/events", headers={"Authorization": value}, json={})
            assert (answer.status_code, answer.json()["error"]["type"]) == (401, "unauthorized")
    assert way.requests == []


async def test_a_token_dies_with_its_session_at_once(here: World) -> None:
    session = here.create()
    async with sandbox_side(here) as side:
        headers = side.bearer(session)
        assert (await side.post(session, 1, "sandbox_ready")).status_code == 200
        here.service.end("acme", session.id)
        batch = {"first_seq": 2, "events": [{"type": "interrupted"}]}
        answer = await side.client.post("/sandbox/v1/events", headers=headers, json=batch)
        assert answer.status_code == 401
    assert here.types(session)[-1] == "session_ended"


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_1_mib_is_refused_unread(here: World, declared: bool) -> None:
    session, way = here.create(), answering(200)

    async def chunks() -> object:
        for _ in range(20):
            yield b"x" * 65536

    async with sandbox_side(here, transport=way) as side:
        headers = {**side.bearer(session), "Content-Type": "application/json"}
        body = b"x" * (2**20 + 1) if declared else chunks()
        answer = await side.client.post("/sandbox/v1/events", headers=headers, content=body)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]["type"]) == (413, "too_large")
    assert way.requests == []


async def test_a_body_that_does_not_arrive_is_given_up(here: World) -> None:
    session = here.create()
    async with sandbox_side(here, body_seconds=0.05) as side:
        head = (
            "POST /sandbox/v1/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            f"Authorization: {side.bearer(session)['Authorization']}\r\nContent-Length: 100\r\n\r\n{{"
        )
        url = str(side.client.base_url).rstrip("/")
        assert (await raw_exchange(url, head.encode())).startswith(b"HTTP/1.1 408 ")


async def test_posts_and_bytes_over_the_rate_are_to_wait_and_others_are_not(here: World) -> None:
    loud, quiet = here.create(), here.create()
    rates = Rates(posts=0.001, posts_burst=3, volume=1, volume_burst=1000)
    async with sandbox_side(here, rates=rates) as side:
        assert (await side.post(loud, 1, "sandbox_ready")).status_code == 200
        answer = await side.post(loud, 2, extra="x" * 980)
        assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) < 1000
        assert (await side.post(loud, 2, "interrupted")).status_code == 200
        answer = await side.post(loud, 3, "interrupted")
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) > 100
        assert (await side.post(quiet, 1, "sandbox_ready")).status_code == 200
    assert here.now(loud).head.agent_seq == 2


async def test_what_could_not_be_stored_does_not_count(here: World) -> None:
    session, away = here.create(), True

    async def fault(request: httpx2.Request, deliver: Deliver) -> httpx2.Response:
        return httpx2.Response(500, request=request) if away else await deliver(request)

    rates = Rates(volume=1, volume_burst=1000)
    async with sandbox_side(here, transport=Between(fault), rates=rates) as side:
        for _ in range(5):
            assert (await side.post(session, 1, "sandbox_ready", extra="x" * 800)).status_code == 503
        away = False
        batch = {"events": [{"type": "sandbox_ready", "extra": "x" * 800}]}
        assert (await side.post(session, 1, **batch)).status_code == 200


async def test_one_sandbox_has_few_posts_under_way(here: World) -> None:
    session, go, arrived = here.create(), asyncio.Event(), asyncio.Semaphore(0)

    async def fault(request: httpx2.Request, deliver: Deliver) -> httpx2.Response:
        arrived.release()
        await go.wait()
        return await deliver(request)

    async with sandbox_side(here, transport=Between(fault)) as side:
        waiting = [asyncio.create_task(side.post(session, 1, "sandbox_ready")) for _ in range(4)]
        for _ in waiting:
            await asyncio.wait_for(arrived.acquire(), 10)
        assert (await side.post(session)).status_code == 429
        go.set()
        assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 4
        assert (await side.post(session, 2, "interrupted")).status_code == 200


async def test_the_log_names_no_token_and_no_content(here: World, caplog: pytest.LogCaptureFixture) -> None:
    session = here.create()
    async with sandbox_side(here, transport=answering(500, text="inner")) as side:
        await side.post(session, 1, events=[{"type": "error", "message": "private"}])
        token = here.token(session)
    assert "The callback answered 500" in caplog.text
    assert (
        token not in caplog.text and "private" not in caplog.text and json.dumps("inner") not in caplog.text
    )


def test_a_bucket_fills_with_time_and_takes_all_or_nothing() -> None:
    clock = Clock()
    bucket = Bucket(2, 10, lambda: clock().timestamp())
    bucket.take(10)
    with pytest.raises(RateLimited) as refused:
        bucket.take(5)
    assert refused.value.retry_after == 3
    clock.tick(2.5)
    bucket.take(5)
    clock.tick(1000)
    bucket.take(10)
    with pytest.raises(RateLimited):
        bucket.take(1)
    bucket.give_back(1)
    bucket.take(1)


def test_buckets_that_are_full_again_are_forgotten() -> None:
    clock = Clock()
    buckets = Buckets(1, 5, lambda: clock().timestamp())
    for n in range(100):
        buckets.take(str(n))
    for _ in range(4):
        buckets.take("0")
    with pytest.raises(RateLimited):
        buckets.take("0")
    buckets.take("1")
    clock.tick(6)
    buckets.take("new")
    assert len(buckets) == 1
