"""The outbox in front of a gateway that fails in every way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from opensessions.events import Assistant, Error, Result, TurnStarted
from sandbox_task.gateway import Backoff, Revoked, client
from sandbox_task.outbox import Outbox, Pace
from sandbox_task.payloads import Secrets
from tests.sandbox_task.fake_gateway import FakeGateway, eventually, serving

QUICK = Backoff(first=0.01, most=0.05)


def event(number: int, text: str = "") -> Assistant:
    return Assistant(message={"number": number, "text": text})


def numbers(gateway: FakeGateway) -> list[int]:
    return [stored["message"]["number"] for stored in gateway.events]


@asynccontextmanager
async def sending(folder: Path, **pace: Any) -> AsyncIterator[tuple[Outbox, asyncio.Task[None]]]:
    async with client(f"unix:{folder}/gateway.sock", "token") as http:
        outbox = Outbox(http, Secrets([]), Pace(**pace), QUICK)
        task = asyncio.create_task(outbox.run())
        try:
            yield outbox, task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Revoked):
                await task


@pytest.mark.parametrize(
    "faults",
    [
        [500, 502, 503, 429], ["drop", "drop", 500, "drop"], [(200, {"no": "ack"}, {})], [404, "drop", 501],
        [(429, {}, {"Retry-After": "0"}), (409, {"expected": "nonsense"}, {})],
    ],
    ids=["refused", "answers lost", "strange answer", "mixed", "throttled"],
)  # fmt: skip
async def test_nothing_is_lost_twice_or_out_of_order(
    tmp_path: Path, gateway: FakeGateway, faults: list[Any]
) -> None:
    gateway.faults.extend(faults * 3)
    async with sending(tmp_path, gaps=(0.01,)) as (outbox, _):
        for number in range(200):
            await outbox.put(event(number))
            if number % 20 == 0:
                await asyncio.sleep(0.005)
        assert await outbox.flush(20)
    assert numbers(gateway) == list(range(200))


async def test_the_gateway_may_be_away(tmp_path: Path) -> None:
    gateway = FakeGateway()
    async with sending(tmp_path) as (outbox, _):
        for number in range(50):
            await outbox.put(event(number))
        assert not await outbox.flush(0.2)
        async with serving(gateway, tmp_path / "gateway.sock"):
            assert await outbox.flush(20)
    assert numbers(gateway) == list(range(50))


async def test_it_continues_from_the_number_that_is_expected(tmp_path: Path, gateway: FakeGateway) -> None:
    async with sending(tmp_path) as (outbox, _):
        await outbox.put(event(0))
        assert await outbox.flush(10)
        gateway.faults.append((409, {"error": {"type": "conflict", "expected": 4}}, {}))
        for number in range(1, 6):
            await outbox.put(event(number))
        # The service says that it has the first two of these already.
        await eventually(lambda: any(batch.first_seq == 4 for batch in gateway.batches))
        batch = next(batch for batch in gateway.batches if batch.first_seq == 4)
        assert batch.events[0].model_dump()["message"]["number"] == 3


async def test_it_starts_over_when_the_service_has_less(tmp_path: Path, gateway: FakeGateway) -> None:
    async with sending(tmp_path) as (outbox, _):
        await outbox.put(event(0))
        assert await outbox.flush(10)
        gateway.events.clear()
        await outbox.put(event(1))
        assert await outbox.flush(10)
    assert numbers(gateway) == [1]


@pytest.mark.parametrize("status", [401, 410])
async def test_it_stops_when_it_is_over(tmp_path: Path, gateway: FakeGateway, status: int) -> None:
    gateway.faults.append(status)
    async with sending(tmp_path) as (_, task):
        with pytest.raises(Revoked):
            await asyncio.wait_for(task, 10)


async def test_events_are_batched_while_a_request_is_on_its_way(tmp_path: Path, gateway: FakeGateway) -> None:
    gateway.hold_answers = 0.2
    async with sending(tmp_path) as (outbox, _):
        await eventually(lambda: gateway.batches)
        for number in range(40):
            await outbox.put(event(number))
            await asyncio.sleep(0.002)
        assert await outbox.flush(10)
    assert numbers(gateway) == list(range(40))
    assert len(gateway.batches) <= 4


async def test_gaps_grow_with_the_load_and_urgent_events_do_not_wait(
    tmp_path: Path, gateway: FakeGateway
) -> None:
    pace = {"gaps": (0.05, 60.0), "steps": (4,), "quiet": 60.0, "urgent_events": 1000, "heartbeat": 60}
    async with sending(tmp_path, **pace) as (outbox, _), asyncio.timeout(20):
        for number in range(150):
            await outbox.put(event(number))
            await asyncio.sleep(0.01)
        requests = len(gateway.arrivals)
        assert requests == 5 and len(gateway.events) < 150
        await outbox.put(Result(subtype="success"))
        await gateway.first("result")
        assert len(gateway.arrivals) == requests + 1


async def test_the_first_words_of_a_turn_do_not_wait(tmp_path: Path, gateway: FakeGateway) -> None:
    async with sending(tmp_path, gaps=(60.0,)) as (outbox, _):
        await outbox.put(event(0))
        await eventually(lambda: len(gateway.events) == 1)
        await outbox.put(TurnStarted())
        await outbox.put(event(1))
        await eventually(lambda: len(gateway.events) == 3)


async def test_a_sign_of_life_when_nothing_happens(tmp_path: Path, gateway: FakeGateway) -> None:
    async with sending(tmp_path, heartbeat=0.05) as (outbox, _):
        await eventually(lambda: len(gateway.batches) >= 3)
        outbox.tell(ports=[3000], state="idle")
        await eventually(lambda: gateway.batches[-1].ports == [3000])
    assert gateway.batches[-1].state == "idle"
    assert not gateway.events


async def test_a_full_outbox_slows_its_writer_down(tmp_path: Path) -> None:
    gateway = FakeGateway()
    async with sending(tmp_path, held_events=10) as (outbox, _):
        for number in range(10):
            await outbox.put(event(number))
        late = asyncio.create_task(outbox.put(event(10)))
        _, waiting = await asyncio.wait([late], timeout=0.1)
        assert waiting
        async with serving(gateway, tmp_path / "gateway.sock"):
            await asyncio.wait_for(late, 10)
            assert await outbox.flush(10)
    assert numbers(gateway) == list(range(11))


async def test_an_event_that_is_too_large_is_cut_and_sent_again(tmp_path: Path, gateway: FakeGateway) -> None:
    async with sending(tmp_path) as (outbox, _):
        await eventually(lambda: gateway.batches)
        gateway.faults.append(413)
        await outbox.put(event(1, "x" * 100_000))
        assert await outbox.flush(10)
        await outbox.put(Error(message="after"))
        assert await outbox.flush(10)
    assert [stored["type"] for stored in gateway.events] == ["assistant", "error"]
    assert "characters cut]" in gateway.events[0]["message"]["text"]


async def test_an_event_that_is_refused_for_good_makes_way(tmp_path: Path, gateway: FakeGateway) -> None:
    async with sending(tmp_path) as (outbox, _):
        await eventually(lambda: gateway.batches)
        gateway.faults.extend([422, 422])
        await outbox.put(event(1))
        await outbox.put(event(2))
        assert await outbox.flush(10)
    assert json.dumps(gateway.events).count("event_dropped") == 1
    assert gateway.events[-1]["message"]["number"] == 2
