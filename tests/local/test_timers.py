"""Launches that are put off: at their time, in a thread, and none after the end."""

import asyncio
import threading

import pytest

from opensessions.local.timers import Timers


async def test_it_is_called_at_its_time_and_in_a_thread_of_its_own() -> None:
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    calls: list[tuple[str, int, float, bool]] = []

    def relaunch(sandbox_id: str, launch: int) -> None:
        here = threading.current_thread() is threading.main_thread()
        calls.append((sandbox_id, launch, loop.time(), here))
        loop.call_soon_threadsafe(called.set)

    timers, began = Timers(relaunch), loop.time()
    await asyncio.to_thread(timers.put_off, "sb-1", 2, 0.05)
    await asyncio.wait_for(called.wait(), 5)
    (sandbox_id, launch, at, here) = calls[0]
    assert (sandbox_id, launch, here) == ("sb-1", 2, False) and at - began >= 0.05
    await timers.aclose()


async def test_the_end_waits_for_what_has_begun_and_begins_nothing() -> None:
    begun, go, calls = threading.Event(), threading.Event(), []

    def relaunch(sandbox_id: str, launch: int) -> None:
        begun.set()
        go.wait(20)
        calls.append(sandbox_id)

    timers = Timers(relaunch)
    timers.put_off("now", 1, 0)
    timers.put_off("late", 1, 0.1)
    assert await asyncio.to_thread(begun.wait, 5)
    closing = asyncio.create_task(timers.aclose())
    await asyncio.sleep(0.15)
    assert not closing.done()
    go.set()
    await asyncio.wait_for(closing, 5)
    timers.put_off("too late", 1, 0)
    await asyncio.sleep(0.01)
    assert calls == ["now"]


async def test_one_that_fails_is_logged_and_the_next_is_called(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def relaunch(sandbox_id: str, launch: int) -> None:
        calls.append(sandbox_id)
        raise LookupError(sandbox_id)

    timers = Timers(relaunch)
    for name in ("one", "two"):
        timers.put_off(name, 1, 0)
    async with asyncio.timeout(5):
        while len(calls) < 2:
            await asyncio.sleep(0.005)
    await timers.aclose()
    assert sorted(calls) == ["one", "two"]
    assert "sandbox one could not be launched" in caplog.text
