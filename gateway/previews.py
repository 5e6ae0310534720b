"""Previews: which host name is which port of which sandbox, and what a visitor gets while there is no app."""

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway import waiting
from gateway.dataplane.heads import Request
from gateway.dataplane.pace import Pace
from gateway.dataplane.proxy import Proxy
from gateway.dataplane.replies import Reason, Reply, refusal
from gateway.dataplane.routes import Refused, Route, Used
from gateway.dataplane.rules import Names
from gateway.door import Address, door
from gateway.private import Private, led, token_in
from gateway.uses import Uses
from gateway.wakes import Wakes
from opensessions.logbook import concerns
from opensessions.models import SandboxStatus, Session, Status

log = logging.getLogger(__name__)

_NOT_YET = {Reason.NOTHING_LISTENS, Reason.UNREACHABLE, Reason.NOT_THIS_SANDBOX}


BYTES_PER_SECOND = 20_000_000
"""What all apps of one sandbox may answer, all visitors together."""

Label = tuple[str, int]
"""A sandbox's id, and one of its ports."""
_LABEL = re.compile(rb"(sb-[0-9a-f]{32})-p([1-9][0-9]{3,4})")


def label(name: bytes) -> Label | None:
    """What `sb-<id>-p<port>` names; None for every other spelling."""
    match = _LABEL.fullmatch(name)
    if match is None or not 1024 <= int(match.group(2)) <= 65535:
        return None
    return match.group(1).decode(), int(match.group(2))


GATEWAY = "gateway"
"""The label under the preview domain that is the gateway's own name; event streams come by it."""


PRIVATE_LOOK_SECONDS = 2.0


class _Shown(NamedTuple):
    """A session whose previews are open; `number` are the revocations that its private ones know of."""

    sandbox_id: str
    number: int | None


class Previews:
    """The preview side of the gateway. Make it inside the loop it serves in; `client` makes a visitor's
    protocol.

    `find` reads the session of a sandbox (blocking, called in a thread), `dial` and `door_key` reach its
    door, `preview_url(sandbox_id, port)` is its public address, and `narrate(session)` gives a few lines on
    what the agent is doing (blocking, called in a thread). Requests to apps are noted in `uses`, and a
    session that sleeps is woken by `wakes` when somebody wants to see it. `private` keeps private previews.
    """

    apart = True
    """Whether each preview has a name of its own, so that private ones can be kept."""

    def __init__(
        self,
        domain: str,
        *,
        find: Callable[[str], Session | None],
        dial: Callable[[str, int], Address],
        door_key: Callable[[str], str],
        preview_url: Callable[[str, int | str], str],
        narrate: Callable[[Session], list[str]],
        uses: Uses,
        wakes: Wakes,
        private: Private,
    ) -> None:
        self.domain = domain
        self._host = re.compile(rf"([a-z0-9-]{{1,63}})\.{re.escape(domain)}(?::\d+)?".encode())
        self._domain = re.compile(rf"(?i)[^@/]*\.{re.escape(domain)}\.?(:\d+)?".encode())
        self._own = re.compile(rf"(?i){GATEWAY}\.{re.escape(domain)}(:\d+)?".encode())
        self._find, self._dial, self._door_key = find, dial, door_key
        self._preview_url, self._narrate = preview_url, narrate
        self._uses, self._wakes, self._private = uses, wakes, private
        self._routes: dict[str, dict[int, Route]] = {}
        self._paces: dict[str, Pace] = {}
        self._shown: dict[str, _Shown] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._loop = asyncio.get_running_loop()
        self.client = Proxy(self._resolve, name=self.name)

    def owns(self, host: bytes) -> bool:
        """Whether a Host is one of the preview domain's, known or not. All others are not ours to answer."""
        return self._domain.fullmatch(host) is not None and not self._own.fullmatch(host)

    def changed(self, session_id: str) -> None:
        """Something of a session changed: if it has ended or fell asleep, or its private previews' cookies
        were revoked, its previews are cut at once. From any thread.
        """
        if session_id in self._shown:
            with suppress(RuntimeError):  # the loop is closed: nobody is connected any more
                self._loop.call_soon_threadsafe(self._check_soon, session_id)

    async def watch(self, seconds: float) -> None:
        """Look at every open preview's session from time to time, for changes that nobody told; at those of
        private ones every two seconds at least.
        """
        soon = min(seconds, PRIVATE_LOOK_SECONDS)
        await asyncio.gather(self._look(seconds, private=False), self._look(soon, private=True))

    async def _look(self, seconds: float, *, private: bool) -> None:
        while True:
            await asyncio.sleep(seconds)
            for session_id, shown in list(self._shown.items()):
                if private is (shown.number is not None):
                    self._check_soon(session_id)

    def name(self, request: Request) -> bytes:
        """What tells requests for one preview from those for another, without judging it; nothing, of one
        that is to be led elsewhere first.
        """
        return b"" if token_in(request) is not None else request.host

    def named(self, request: Request) -> Label | Reply:
        """Which preview a request is for, or what it is answered when it is for none."""
        if not self.owns(request.host):
            return waiting.answer(421, "Not here.")
        match = self._host.fullmatch(request.host)
        found = label(match.group(1)) if match else None
        return found or waiting.answer(404, "There is no such preview.")

    async def _resolve(self, request: Request) -> Route | Reply:
        named = self.named(request)
        if isinstance(named, Reply):
            return named
        sandbox_id, port = named
        session = await asyncio.to_thread(self._find, sandbox_id)
        if session is None:
            return waiting.answer(404, "There is no such preview.")
        concerns(session.id)
        if session.head.status is Status.ENDED:
            return waiting.ended(request)
        if (token := token_in(request)) is not None:
            return await self._exchanged(request, session, port, token)
        if refusal := self._kept_out(request, session, port):
            return refusal
        if _sleeps(session):
            return await self._not_yet(request, session, port)
        return self._route(session, port)

    async def _exchanged(self, request: Request, session: Session, port: int, token: str) -> Reply:
        if session.preview == "private" and self.apart:
            return await self._private.exchange(request, session, port, token)
        return led(request)

    def _kept_out(self, request: Request, session: Session, port: int) -> Reply | None:
        """The answer to who may not see a private preview."""
        if session.preview == "public":
            return None
        if not self.apart:
            return waiting.answer(403, "Previews share one name here, so that private ones are not shown.")
        verdict = self._private.gate(session, port)(request)
        return verdict if isinstance(verdict, Reply) else None

    def _route(self, session: Session, port: int) -> Route:
        shown = _Shown(session.sandbox_id, _number(session))
        if self._shown.get(session.id, shown) != shown:
            self._cut(session.id)
        self._shown[session.id] = shown
        routes = self._routes.setdefault(session.sandbox_id, {})
        if port not in routes or routes[port].closed:
            origin = "{0.scheme}://{0.netloc}".format(urlsplit(self._preview_url(session.sandbox_id, port)))
            connect = door(
                lambda: self._dial(session.sandbox_id, port), self._door_key(session.sandbox_id), port
            )
            refused = self._refusal_of(session.sandbox_id, port)
            used, private = self._use_of(session.id), session.preview == "private"
            guard = self._private.gate(session, port) if private else None
            pace = self._paces.setdefault(session.sandbox_id, Pace(BYTES_PER_SECOND))
            routes[port] = Route(Names(origin, port), connect, refused, used=used, guard=guard, pace=pace)
        return routes[port]

    def _use_of(self, session_id: str) -> Used:
        def used(request: Request) -> None:
            if not waiting.polls(request):
                self._uses.note(session_id)

        return used

    def _refusal_of(self, sandbox_id: str, port: int) -> Refused:
        async def refused(request: Request, reason: Reason) -> Reply:
            session = await asyncio.to_thread(self._find, sandbox_id)
            if session is None or session.head.status is Status.ENDED:
                return waiting.ended(request)
            if kept_out := self._kept_out(request, session, port):
                return kept_out
            if reason not in _NOT_YET and not _sleeps(session):
                return refusal(reason)
            return await self._not_yet(request, session, port)

        return refused

    async def _not_yet(self, request: Request, session: Session, port: int) -> Reply:
        sleep = session.id, session.launch
        if _sleeps(session) and waiting.may_wake(request):
            self._wakes.ask(sleep)
        waking, refused = self._wakes.asked(sleep), self._wakes.refusal(sleep)
        busy = waking and refused is None if _sleeps(session) else session.live
        state = waiting.asleep(waking, refused) if _sleeps(session) else waiting.state(session, port)
        return await asyncio.to_thread(
            waiting.not_yet, request, session.title, state, lambda: self._narrate(session), busy=busy
        )

    def _check_soon(self, session_id: str) -> None:
        if session_id in self._checks or session_id not in self._shown:
            return
        task = self._loop.create_task(self._check(session_id))
        self._checks[session_id] = task
        task.add_done_callback(lambda done: self._checks.pop(session_id, None))

    async def _check(self, session_id: str) -> None:
        shown = self._shown[session_id]
        session = await asyncio.to_thread(self._find, shown.sandbox_id)
        over = session is None or session.head.status is Status.ENDED or _sleeps(session)
        if over or (session and _number(session) != shown.number):
            self._cut(session_id)

    def _cut(self, session_id: str) -> None:
        if shown := self._shown.pop(session_id, None):
            self._paces.pop(shown.sandbox_id, None)
            for route in self._routes.pop(shown.sandbox_id, {}).values():
                route.close()


def _number(session: Session) -> int | None:
    return session.revocations if session.preview == "private" else None


def _sleeps(session: Session) -> bool:
    return session.head.sandbox_status is SandboxStatus.HIBERNATED


class NoPreviews(Previews):
    """Where previews are off: no name is one."""

    def owns(self, host: bytes) -> bool:
        return False
