"""One reader per session, however many watch, and nobody misses anything."""

import asyncio
import gc
import random
import threading
from collections.abc import Callable

import pytest

from gateway.hub import PAGE, SHARED_EVENTS, Delta, Hub, Watcher
from opensessions.errors import NotFound
from opensessions.models import Event
from tests.gateway.stream_parts import Sessions, event, until

NEVER = 1000.0


def hub_over(sessions: Sessions, poll_seconds: float = NEVER) -> Hub:
    return Hub(sessions.read_events, poll_seconds=poll_seconds)


async def seqs(watcher: Watcher, last: int) -> list[int]:
    """The numbers of the events up to `last`."""
    got: list[int] = []
    async with asyncio.timeout(10):
        async for item in watcher:
            if isinstance(item, Event):
                got.append(item.seq)
                if item.seq >= last:
                    break
    return got


async def test_stored_events_come_first_and_new_ones_as_they_are_stored() -> None:
    sessions = Sessions()
    sessions.add("s", 3)
    hub = hub_over(sessions)
    with hub.watch("s", after=1, last_seq=3) as watcher:
        assert await seqs(watcher, 3) == [2, 3]
        for n in range(4, 7):
            sessions.add("s")
            hub.wake("s")
            assert await seqs(watcher, n) == [n]


async def test_wake_may_be_called_from_any_thread_and_for_any_session() -> None:
    sessions = Sessions()
    hub = hub_over(sessions)
    hub.wake("s")
    with hub.watch("s", 0, 0) as watcher:
        sessions.add("s", 2)
        thread = threading.Thread(target=lambda: (hub.wake("other"), hub.wake("s")))
        thread.start()
        assert await seqs(watcher, 2) == [1, 2]
        thread.join()


async def test_without_a_wake_the_poll_finds_what_is_new() -> None:
    sessions = Sessions()
    hub = hub_over(sessions, poll_seconds=0.01)
    with hub.watch("s", 0, 0) as watcher:
        sessions.add("s", PAGE * 2 + 1)
        assert await seqs(watcher, PAGE * 2 + 1) == list(range(1, PAGE * 2 + 2))


async def test_200_watchers_cost_one_read_a_wake() -> None:
    sessions = Sessions()
    sessions.add("s", 40)
    hub = hub_over(sessions)

    async def watch() -> list[int]:
        with hub.watch("s", 0, 40) as watcher:
            return await seqs(watcher, 60)

    watching = [asyncio.create_task(watch()) for _ in range(200)]
    await asyncio.sleep(0)
    for _ in range(20):
        sessions.add("s")
        hub.wake("s")
        await asyncio.sleep(0)
    assert [await one for one in watching] == [list(range(1, 61))] * 200
    assert sessions.reads <= 22
    assert not hub.watching("s")


async def test_late_watchers_read_what_they_missed_once_each() -> None:
    sessions = Sessions()
    sessions.add("s", 90)
    hub = hub_over(sessions)
    with hub.watch("s", 90, 90) as first:
        for _ in range(50):
            with hub.watch("s", 0, 90) as late:
                assert await seqs(late, 90) == list(range(1, 91))
        assert sessions.reads <= 51
        sessions.add("s")
        hub.wake("s")
        assert await seqs(first, 91) == [91]


async def test_a_slow_watcher_holds_nothing_back_and_gets_everything() -> None:
    class Endless:
        last = 0

        def read(self, session_id: str, after: int, limit: int) -> list[Event]:
            return [event(n) for n in range(after + 1, min(self.last, after + limit) + 1)]

    store = Endless()
    hub = Hub(store.read, poll_seconds=NEVER)
    gc.collect()
    before = alive()
    with hub.watch("s", 0, 0) as slow, hub.watch("s", 0, 0) as quick:
        store.last = 5000
        hub.wake("s")
        assert await seqs(quick, 5000) == list(range(1, 5001))
        gc.collect()
        assert alive() - before <= SHARED_EVENTS + 2 * PAGE
        assert len(await slow.next()) <= PAGE
        assert await seqs(slow, 5000) == list(range(PAGE + 1, 5001))


def alive() -> int:
    return sum(isinstance(thing, Event) for thing in gc.get_objects())


async def test_large_events_are_not_hoarded() -> None:
    sessions = Sessions()
    hub = hub_over(sessions)
    with hub.watch("s", 0, 0) as watcher, hub.watch("s", 0, 0) as slow:
        sessions.add("s", 50, blob="x" * 200_000)
        hub.wake("s")
        assert len(await seqs(watcher, 50)) == 50
        reads = sessions.reads
        assert await seqs(slow, 50) == list(range(1, 51))
        assert sessions.reads == reads + 1  # they had left memory


async def test_nothing_stays_of_a_session_that_nobody_watches() -> None:
    sessions = Sessions()
    hub = hub_over(sessions, poll_seconds=0.01)
    tasks = asyncio.all_tasks()
    with hub.watch("s", 0, 0), hub.watch("s", 0, 0):
        assert hub.watching("s")
    assert not hub.watching("s")
    await until(lambda: asyncio.all_tasks() == tasks and "s" not in hub.bells)
    reads = sessions.reads
    await asyncio.sleep(0.05)
    assert sessions.reads == reads


async def test_a_store_that_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    sessions = Sessions(fails=2)
    sessions.add("s", 2)
    hub = hub_over(sessions, poll_seconds=0.01)
    with hub.watch("s", 0, 2) as watcher:
        assert await seqs(watcher, 2) == [1, 2]
    assert "Events of s could not be read" in caplog.text


async def test_events_that_are_gone_end_the_watch() -> None:
    sessions = Sessions()
    sessions.add("s", 300)
    hub = hub_over(sessions)
    with hub.watch("s", 300, 300), hub.watch("s", 0, 300) as late:
        sessions.events["s"].clear()
        with pytest.raises(NotFound):
            await late.next()


async def test_next_returns_nothing_after_a_silence() -> None:
    hub = hub_over(Sessions())
    with hub.watch("s", 0, 0) as watcher:
        assert await watcher.next(within=0.01) == []


async def test_a_watcher_ahead_of_the_session_does_not_disturb_the_others() -> None:
    sessions = Sessions()
    sessions.add("s", 5)
    hub = hub_over(sessions)
    with hub.watch("s", 12, 5) as ahead, hub.watch("s", 0, 5) as other:
        sessions.add("s", 5)
        hub.wake("s")
        assert await seqs(other, 10) == list(range(1, 11))
        assert await other.next(within=0.01) == []
        sessions.add("s", 5)
        hub.wake("s")
        assert await seqs(other, 15) == [11, 12, 13, 14, 15]
        assert await seqs(ahead, 15) == [13, 14, 15]


async def test_deltas_reach_those_who_asked_before_the_event_that_closes_them() -> None:
    sessions = Sessions()
    hub = hub_over(sessions)
    with hub.watch("s", 0, 0) as plain:
        assert not hub.wants_deltas("s")
        hub.delta("s", "lost")
        with hub.watch("s", 0, 0, deltas=True) as curious:
            assert hub.wants_deltas("s")
            hub.delta("s", "Hel")
            hub.delta("s", "lo")
            sessions.add("s")
            hub.wake("s")
            assert await seqs(plain, 1) == [1]
            hub.delta("s", "next")
            items = await curious.next() + await curious.next() + await curious.next()
            assert [getattr(item, "text", "event") for item in items] == ["Hel", "lo", "event", "next"]
        assert not hub.wants_deltas("s")


async def test_a_slow_watcher_misses_deltas_but_never_the_middle_of_a_text() -> None:
    sessions = Sessions()
    hub = hub_over(sessions)
    with hub.watch("s", 0, 0, deltas=True) as slow:
        for n in range(10_000):
            hub.delta("s", str(n))
        texts = [item.text for item in await slow.next() if isinstance(item, Delta)]
        assert texts == [str(n) for n in range(len(texts))] and len(texts) < 1000
        hub.delta("s", "after the hole")
        assert await slow.next(within=0.01) == []
        sessions.add("s")
        hub.wake("s")
        assert await seqs(slow, 1) == [1]
        hub.delta("s", "again whole")
        assert await slow.next() == [Delta("again whole", 1)]


@pytest.mark.parametrize("seed", range(5))
async def test_any_interleaving_gives_every_event_once_in_order(seed: int) -> None:
    chance, sessions = random.Random(seed), Sessions()
    sessions.add("s", chance.randrange(1, 600))
    hub = hub_over(sessions, poll_seconds=0.02)

    async def watch(pause: Callable[[], float]) -> None:
        last = len(sessions.events["s"])
        after = chance.randrange(last)
        with hub.watch("s", after, last) as watcher:
            got: list[int] = []
            while after + len(got) < 1500:
                got += [item.seq for item in await watcher.next() if isinstance(item, Event)]
                await asyncio.sleep(pause())
        assert got == list(range(after + 1, after + len(got) + 1))

    watchers = [
        asyncio.create_task(watch(lambda slow=slow: chance.choice((0, slow))))  # type: ignore[misc]
        for slow in [0, 0.001, 0.02] * 4
    ]
    while len(sessions.events["s"]) < 1500:
        sessions.add("s", chance.randrange(1, 60))
        if chance.random() < 0.8:
            hub.wake("s")
        await asyncio.sleep(chance.choice((0, 0, 0.003)))
    async with asyncio.timeout(20):
        await asyncio.gather(*watchers)
