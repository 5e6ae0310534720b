"""Events on their way to the service: in order, each once, in as few requests as patience allows."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import httpx2
from pydantic import BaseModel, ValidationError

from opensessions.events import WIRE_VERSION, Ack
from sandbox_task import payloads
from sandbox_task.gateway import PATIENT, Backoff, refuse

log = logging.getLogger(__name__)
Put = Callable[[BaseModel], Awaitable[None]]
State = Literal["starting", "working", "idle"]
_AT_ONCE = frozenset({"result", "turn_complete", "error", "preview_ready"})


@dataclass(frozen=True)
class Pace:
    """When to send. Seconds, bytes and events.

    Nothing is held back longer than the present one of `gaps`: the first, and a longer one once so many
    requests in a row (`steps`) had to wait for theirs; the first again after `quiet` without an event.
    """

    quiet: float = 0.25
    gaps: tuple[float, ...] = (0.1, 0.25, 0.5)
    steps: tuple[int, ...] = (5, 15)
    urgent_bytes: int = 32 * 1024
    urgent_events: int = 50
    batch_bytes: int = 320 * 1024
    batch_events: int = 200
    held_bytes: int = 64 * 1024 * 1024
    held_events: int = 20_000
    heartbeat: float = 20.0

    def gap(self, streak: int) -> float:
        return self.gaps[min(sum(streak >= step for step in self.steps), len(self.gaps) - 1)]


PACE = Pace()


class Outbox:
    """`put` from anywhere; one `run` sends. The ports and the state go along with every request.

    Results and errors are sent at once, and so are the first words of a turn, which somebody waits for.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        secrets: payloads.Secrets,
        pace: Pace = PACE,
        backoff: Backoff = PATIENT,
    ) -> None:
        self._client, self._secrets, self._pace, self._backoff = client, secrets, pace, backoff
        self._events: deque[tuple[bytes, bool]] = deque()
        self._bytes = self._urgent = 0
        self._first_seq, self._tried = 1, 0
        self._hurry = self._changed = self._silent = False
        self._streak = 0
        self._sent_at = self._put_at = float("-inf")
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._turn = asyncio.Lock()
        self._most = pace.batch_events
        self.ports: list[int] = []
        self.state: State = "starting"

    async def put(self, event: BaseModel) -> None:
        """Queue an event behind those put before it. Waits while the outbox is full, and so slows the agent;
        nothing is dropped.
        """
        data = payloads.encoded(event, self._secrets)
        kind = getattr(event, "type", None)
        async with self._turn:
            urgent = kind in _AT_ONCE or (kind == "assistant" and self._silent)
            self._silent = kind == "turn_started" or (self._silent and kind != "assistant")
            while self._full():
                self._room.clear()
                await self._room.wait()
            self._events.append((data, urgent))
            self._bytes += len(data)
            self._urgent += urgent
            now = asyncio.get_running_loop().time()
            if now - self._put_at >= self._pace.quiet:
                self._streak = 0
            self._put_at = now
            self._news.set()

    def tell(self, ports: list[int] | None = None, state: State | None = None) -> None:
        """Change what goes along with the requests; sent soon, even without an event."""
        ports, state = self.ports if ports is None else ports, state or self.state
        if (ports, state) != (self.ports, self.state):
            self.ports, self.state = ports, state
            self._changed = True
            self._news.set()

    async def run(self) -> None:
        """Send for ever. Raises Revoked when the gateway no longer takes anything."""
        while True:
            await self._until_due()
            await self._send()

    async def flush(self, seconds: float) -> bool:
        """Send what is held now without any gap; `run` must be running. False if the time was too short."""

        async def emptied() -> None:
            while self._events:
                self._hurry = True
                self._news.set()
                self._room.clear()
                await self._room.wait()

        with suppress(TimeoutError):
            await asyncio.wait_for(emptied(), seconds)
        self._hurry = False
        return not self._events

    def _full(self) -> bool:
        return self._bytes >= self._pace.held_bytes or len(self._events) >= self._pace.held_events

    async def _until_due(self) -> None:
        clock = asyncio.get_running_loop().time
        while (wait := self._due_at() - clock()) > 0:
            self._news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait)
        since = clock() - self._sent_at
        self._streak = self._streak + 1 if since <= self._pace.gap(self._streak) * 1.5 else 0

    def _due_at(self) -> float:
        pace = self._pace
        if not self._events and not self._changed:
            return self._sent_at + pace.heartbeat
        many = self._bytes >= pace.urgent_bytes or len(self._events) >= pace.urgent_events
        at_once = many or self._urgent or (self._hurry and self._events)
        return 0.0 if at_once else self._sent_at + pace.gap(self._streak)

    async def _send(self) -> None:
        """One request, until it is answered: the same events under the same numbers each time."""
        count, tries = self._batch(), 0
        self._changed = False
        while not await self._delivered(count, tries):
            tries += 1
            count = min(count, self._batch())
        self._sent_at = asyncio.get_running_loop().time()

    def _batch(self) -> int:
        size = count = 0
        for data, _ in self._events:
            size += len(data)
            if count and (size > self._pace.batch_bytes or count >= self._most):
                break
            count += 1
        return count

    async def _delivered(self, count: int, tries: int) -> bool:
        self._tried = max(self._tried, count)
        try:
            answer = await self._client.post(
                "/sandbox/v1/events", content=self._body(count), headers={"Content-Type": "application/json"}
            )
        except httpx2.HTTPError as error:
            log.info("Events could not be sent (%s); trying again", type(error).__name__)
            await self._backoff.sleep(tries)
            return False
        refuse(answer.status_code)
        if answer.status_code == 200 and self._acknowledged(answer):
            self._most = self._pace.batch_events
            return True
        if answer.status_code == 409 and self._expected(answer):
            return True
        if answer.status_code in (400, 413, 422) and count:
            self._lighten(count, answer.status_code)
            return False
        log.info("Events were answered with %d; trying again", answer.status_code)
        await self._backoff.sleep(tries, at_least=_retry_after(answer))
        return False

    def _body(self, count: int) -> bytes:
        events = b",".join(self._events[index][0] for index in range(count))
        head = f'{{"v":{WIRE_VERSION},"first_seq":{self._first_seq},"ports":{json.dumps(self.ports[:64])},'
        return head.encode() + f'"state":"{self.state}","events":['.encode() + events + b"]}"

    def _acknowledged(self, answer: httpx2.Response) -> bool:
        try:
            expected = Ack.model_validate_json(answer.content).expected
        except ValidationError:
            return False
        if expected == self._first_seq and self._tried:
            return False
        self._continue_from(expected)
        return True

    def _expected(self, answer: httpx2.Response) -> bool:
        try:
            body = answer.json()
            expected = body.get("expected") or body["error"]["expected"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        if not isinstance(expected, int) or expected < 1 or expected == self._first_seq:
            return False
        self._continue_from(expected)
        return True

    def _continue_from(self, expected: int) -> None:
        """Forget what the service has, and number the rest from `expected` on. Events that never went out are
        kept, whatever it says.
        """
        for _ in range(min(expected - self._first_seq, self._tried)):
            data, urgent = self._events.popleft()
            self._bytes -= len(data)
            self._urgent -= urgent
        self._first_seq, self._tried = expected, 0
        self._room.set()

    def _lighten(self, count: int, status: int) -> None:
        """After a refusal: fewer events at once, then the one event cut, then something in its place."""
        if count > 1:
            self._most = count // 2
            return
        event, urgent = self._events[0]
        smaller = payloads.cut(event, len(event) // 2) if status == 413 and len(event) > 1024 else b""
        smaller = smaller or payloads.refused(json.loads(event).get("type"))
        self._events[0] = smaller, urgent
        self._bytes += len(smaller) - len(event)


def _retry_after(answer: httpx2.Response) -> float:
    value = answer.headers.get("Retry-After", "")
    return min(float(value), 60.0) if value.isdigit() else 0.0
