"""How many posts the outbox makes of an agent's events, in virtual time: the real outbox, no waiting."""

import asyncio
import json
import selectors
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import httpx2
from pydantic import TypeAdapter

from bench import typical
from opensessions.events import SandboxEvent
from sandbox_task.outbox import Outbox
from sandbox_task.payloads import Secrets

ROUND_TRIP = 0.05
"""Seconds that a post takes."""

STEP = (1.5, 0.4, 0.0)
"""Seconds from words to the tool call, from there to its result, and to its summary."""

_event: TypeAdapter[Any] = TypeAdapter(SandboxEvent)


class _Jumping(selectors.DefaultSelector):
    """Never waits: the time that would have passed is added to `now`, and a moment more, so that it moves."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += (timeout or 0.0) + 1e-6
        return super().select(0)


def posts(events: Callable[[Outbox], Coroutine[Any, Any, None]]) -> list[int]:
    """The number of events in each post that the outbox made of what was put into it."""
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    made: list[int] = []

    async def answer(request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(ROUND_TRIP)
        batch = json.loads(request.content)
        made.append(len(batch["events"]))
        last = batch["first_seq"] + len(batch["events"]) - 1
        return httpx2.Response(200, json={"acked": last, "expected": last + 1})

    async def run() -> None:
        transport = httpx2.MockTransport(answer)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
            outbox = Outbox(client, Secrets([]))
            sending = asyncio.create_task(outbox.run())
            await events(outbox)
            await outbox.flush(60)
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    return made


def in_steps(total: int, seconds: float) -> list[int]:
    """Of an agent that works for so long and says so many things, step by step."""

    async def say(outbox: Outbox) -> None:
        pause = seconds / (total / 4) - sum(STEP)
        for step in _steps(total):
            for event, wait in zip(step, (*STEP, pause), strict=True):
                await outbox.put(event)
                await asyncio.sleep(wait)

    return posts(say)


def without_end(seconds: float, every: float) -> list[int]:
    """Of an agent that says something every so many seconds and never pauses."""

    async def say(outbox: Outbox) -> None:
        events = (event for step in _steps(10**9) for event in step)
        for _ in range(round(seconds / every)):
            await outbox.put(next(events))
            await asyncio.sleep(every)

    return posts(say)


def _steps(total: int) -> Iterator[list[Any]]:
    for number, step in zip(count(0, 4), typical.steps(), strict=False):
        if number >= total:
            return
        yield [_event.validate_python(event) for event in step]
