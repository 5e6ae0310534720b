"""`GET /sandbox/v1/inbox`: what a sandbox is to do, as it is decided."""

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.bells import Bell, Bells
from gateway.rates import Buckets
from gateway.sse import PING, OpenStreams, Pump, Wire, frame
from opensessions.errors import InvalidRequest, Unauthorized
from opensessions.events import Assign, InboxItem, Prepare
from opensessions.http.credentials import bearer
from opensessions.models import Session
from opensessions.pool.spares import Spare

PATH = "/sandbox/v1/inbox"

_NUMBER = re.compile(r"[0-9]{1,12}")


class Assignments(Protocol):
    """What is asked of the service; all calls block and are made in worker threads."""

    def identify(self, token: str, kind: str) -> Session | None:
        """The live session whose sandbox holds this token of its present launch."""
        ...

    def speaker(self, token: str) -> Session | Spare | None:
        """The same for a worker's token, or the spare whose it is."""
        ...

    def prepare(self, spare: Spare) -> Prepare:
        """What a spare is told."""
        ...

    def holds(self, spare: Spare) -> bool:
        """Whether a spare is one still; a cheap read."""
        ...

    def inbox(self, session: Session, after: int) -> list[tuple[int, InboxItem]]:
        """The next items after `after` of the session's present launch, in order."""
        ...


class Inbox:
    """ASGI endpoint for `PATH`, with the worker's token as Bearer.

    Each frame's id is the item's number; it starts after `?after=`, but never before the launch's `assign`,
    into which `door_key_of(sandbox_id)` goes. A sandbox has one inbox: a newer one closes the older. It ends
    when the token is no longer good, and coming back is 401. Opening it over and over is
    answered 429.

    A spare is told to prepare, under number 0, and then what its session asks of it as soon as one has it:
    at once where that rings the bell of the sandbox, else within `spare_poll_seconds`.
    """

    def __init__(
        self,
        assignments: Assignments,
        bells: Bells,
        open_streams: OpenStreams,
        *,
        door_key_of: Callable[[str], str],
        heartbeat_seconds: float = 10.0,
        poll_seconds: float = 2.0,
        spare_poll_seconds: float = 0.25,
    ) -> None:
        self._assignments, self._bells, self._open_streams = assignments, bells, open_streams
        self._door_key_of = door_key_of
        self._heartbeat, self._poll_seconds = heartbeat_seconds, poll_seconds
        self._spare_poll_seconds = spare_poll_seconds
        self._openings = Buckets(rate=0.5, burst=20)
        self._leaves: dict[str, asyncio.Event] = {}

    def route(self) -> Route:
        return Route(PATH, self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        if request.method != "GET":
            raise HTTPException(405, headers={"Allow": "GET"})
        token = bearer(request.headers) or ""
        known = await anyio.to_thread.run_sync(self._assignments.speaker, token)
        if known is None:
            raise Unauthorized("The sandbox's token is not known (any more).")
        self._openings.take(known.sandbox_id)
        after = _after(request)

        async def pump(wire: Wire) -> None:
            await wire.write(PING)
            session = await self._taken(wire, known, token) if isinstance(known, Spare) else known
            if session is not None:
                with self._bells.hang(session.id) as bell:
                    await self._pump(wire, bell, token, max(after, session.assign_seq - 1))

        await self._only(known.sandbox_id, receive, send, pump)

    async def _only(self, sandbox_id: str, receive: Receive, send: Send, pump: Pump) -> None:
        leave = asyncio.Event()
        if older := self._leaves.get(sandbox_id):
            older.set()
        self._leaves[sandbox_id] = leave
        try:
            await self._open_streams.respond(receive, send, pump, leave)
        finally:
            if self._leaves.get(sandbox_id) is leave:
                del self._leaves[sandbox_id]

    async def _taken(self, wire: Wire, spare: Spare, token: str) -> Session | None:
        """The session that takes a spare, when it does; None when the spare is discarded."""
        prepare = await anyio.to_thread.run_sync(self._assignments.prepare, spare)
        await wire.write(frame(prepare.model_dump_json().encode(), number=0))
        with self._bells.hang(spare.sandbox_id) as bell:
            while await anyio.to_thread.run_sync(self._assignments.holds, spare):
                if wire.quiet >= self._heartbeat:
                    await wire.write(PING)
                await bell.wait(min(self._spare_poll_seconds, max(0.0, self._heartbeat - wire.quiet)))
        return await anyio.to_thread.run_sync(self._assignments.identify, token, "worker")

    async def _pump(self, wire: Wire, bell: Bell, token: str, after: int) -> None:
        while True:
            session = await anyio.to_thread.run_sync(self._assignments.identify, token, "worker")
            if session is None:
                return
            items = await self._items(session, after)
            for number, item in items:
                await wire.write(frame(item.model_dump_json().encode(), number=number))
                after = number
            if items:
                continue
            if wire.quiet >= self._heartbeat:
                await wire.write(PING)
            await bell.wait(min(self._poll_seconds, max(0.0, self._heartbeat - wire.quiet)))

    async def _items(self, session: Session, after: int) -> list[tuple[int, InboxItem]]:
        # A newer launch may begin between the two reads: what the first did not know of waits for a round.
        known = session.head.inbox_seq
        if known <= after:
            return []
        items = await anyio.to_thread.run_sync(self._assignments.inbox, session, after)
        return [(number, self._ready(session, item)) for number, item in items if number <= known]

    def _ready(self, session: Session, item: InboxItem) -> InboxItem:
        if isinstance(item, Assign):
            return item.model_copy(update={"door_key": self._door_key_of(session.sandbox_id)})
        return item


def _after(request: Request) -> int:
    text = request.query_params.get("after", "0")
    if not _NUMBER.fullmatch(text):
        raise InvalidRequest("after must be the number of an inbox item, a whole number from 0 on.", "after")
    return int(text)
