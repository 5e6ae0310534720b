"""The parts of the gateway, put together: the same in both modes."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2
from starlette.routing import Route
from starlette.types import ASGIApp

from gateway.archived_files import ArchivedFiles
from gateway.archives import Archives
from gateway.boot import Boot
from gateway.callers import Callers, Sessions
from gateway.calls import Calls
from gateway.door import Address
from gateway.egress import EgressProxy
from gateway.egress_passage import Resolve
from gateway.egress_policy import EgressPolicy
from gateway.egress_reports import EgressReports
from gateway.files import Files
from gateway.grants import SandboxGrant, TokenKind
from gateway.hub import Hub
from gateway.inbox import Assignments, Inbox
from gateway.live_files import LiveFiles
from gateway.model import ModelListeners, ModelProxy
from gateway.model_body import ModelRules
from gateway.model_upstream import OwnKey, Upstream, no_own_key
from gateway.peers import Addresses, Peers
from gateway.previews import Previews
from gateway.private import Private
from gateway.relay import Relay
from gateway.sandbox_side import sandbox_app
from gateway.sightings import Sightings
from gateway.sse import OpenStreams
from gateway.streams import EventStreams, streams_app
from gateway.uses import Uses
from gateway.wakes import Wakes
from opensessions import traces
from opensessions.handshake import door_key
from opensessions.http.event_lines import line
from opensessions.models import Event, Session
from opensessions.ports import BlobStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Behind:
    """What the gateway asks of the system behind it. All but `dial` and `callback` block, and are called in
    threads; `dial` is asked in the loop and must answer from memory.
    """

    find: Callable[[str], Session | None]
    events: Callable[[str, int, int], list[Event]]
    latest_events: Callable[[str, int], list[Event]]
    assignments: Assignments
    sessions: Sessions
    blobs: BlobStore
    dial: Callable[[str, int], Address]
    callback: httpx2.AsyncClient


@dataclass(frozen=True)
class Manners:
    """How this gateway behaves. `master` is the key that the doors' keys come from; `preview_url(sandbox_id,
    port)` a port's public address, below `preview_domain`. That a session is used is told at most once in
    `uses_seconds`.
    """

    master: bytes = field(repr=False)
    preview_domain: str
    preview_url: Callable[[str, int | str], str]
    upstream: Upstream
    policy: EgressPolicy
    resolve: Resolve
    models: ModelRules
    allow_query_key: bool
    previews: type[Previews] = Previews
    inbox_poll_seconds: float = 2.0
    uses_seconds: float = 60.0
    own_key: OwnKey = no_own_key


class Gateway:
    """Make it inside the loop that it serves in. Where there are several, `peers` finds them, and somebody
    runs `self.peers`.

    `sandbox_app`, `egress` and `previews` listen where only sandboxes, and only visitors, come; `streams_app`
    is the part of the public side that streams: events and files.
    """

    def __init__(self, behind: Behind, manners: Manners, peers: Addresses | None = None) -> None:
        self._behind, self._manners = behind, manners
        self.peers = Peers(manners.master, peers, self.wake) if peers else None
        self._telling: set[asyncio.Task[None]] = set()
        self.hub, self.streams = Hub(behind.events), OpenStreams()
        self.uses, self.wakes = Uses(behind.callback, every=manners.uses_seconds), Wakes(behind.callback)
        self.previews = manners.previews(
            manners.preview_domain,
            find=behind.find,
            dial=behind.dial,
            door_key=self._door_key,
            preview_url=manners.preview_url,
            narrate=self._narrate,
            uses=self.uses,
            wakes=self.wakes,
            private=Private(manners.master, behind.callback),
        )
        listeners = ModelListeners(wants_deltas=self.hub.wants_deltas, on_delta=self.hub.delta)
        self._calls = Calls(behind.callback)
        self.model = ModelProxy(
            self._authorize, manners.upstream, self._calls, manners.models, listeners, own_key=manners.own_key
        )
        self.archived_files = ArchivedFiles(behind.blobs)
        self.sandbox_app = self._sandbox_side()
        self.reports, self.sightings = EgressReports(behind.callback), Sightings(behind.callback)
        self.egress = EgressProxy(
            self._authorize,
            manners.policy,
            manners.resolve,
            on_refused=self._refused,
            reports=self.reports,
        )
        self.streams_app = self._stream_side()

    def wake(self, session_id: str) -> None:
        """Something of a session is new; whoever waits for it is told. From any thread."""
        self.hub.wake(session_id)
        self.previews.changed(session_id)

    async def drain(self, streams: float, calls: float) -> None:
        """End streams kindly and let model calls finish, each within so many seconds."""
        await asyncio.gather(
            self.streams.drain(within=streams),
            self.model.aclose(deadline=calls),
            self.previews.client.shutdown(streams),
            self.egress.aclose(),
        )
        await asyncio.gather(
            self.uses.aclose(), self.wakes.aclose(), self.reports.aclose(), self.sightings.aclose()
        )
        self.archived_files.close()

    def _sandbox_side(self) -> ASGIApp:
        behind = self._behind
        inbox = Inbox(
            behind.assignments,
            self.hub.bells,
            self.streams,
            door_key_of=self._door_key,
            poll_seconds=self._manners.inbox_poll_seconds,
        )
        relay = Relay(
            behind.assignments.speaker, behind.callback, self._stored, settled=self._calls.all_settled
        )
        archives = Archives(behind.assignments.identify, behind.blobs, behind.callback, self._stored)
        of_peers = [self.peers.route()] if self.peers else []
        more = (*archives.routes(), *of_peers)
        return sandbox_app(Boot(behind.callback), inbox, relay, self.model, *more)

    def _stream_side(self) -> ASGIApp:
        allow = self._manners.allow_query_key
        streams = EventStreams(
            self._behind.sessions,
            self.hub,
            self.streams,
            allow_query_key=allow,
            watching=self.uses.watching,
        )
        files = self._files(Callers(self._behind.sessions, allow_query_key=allow))
        return streams_app(streams, *files, saw=self.sightings.saw)

    def _files(self, callers: Callers) -> list[Route]:
        live = LiveFiles(self._behind.find, self._behind.dial, self._door_key)
        return Files(callers, live, self.archived_files, self.uses.note).routes()

    def _stored(self, session_id: str) -> None:
        self.wake(session_id)
        if self.peers:
            self.peers.tell(session_id)

    def _refused(self, session_id: str, host: str, reason: str) -> None:
        notice = {"session_id": session_id, "message": f"{host}: {reason}", "code": "egress_refused"}
        telling = asyncio.create_task(self._tell(notice))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _tell(self, notice: dict[str, str]) -> None:
        try:
            await self._behind.callback.post("/callback/v1/notices", json=notice)
        except httpx2.HTTPError as error:
            log.warning("a notice on %s was lost: %s", notice["session_id"], type(error).__name__)

    def _door_key(self, sandbox_id: str) -> str:
        return door_key(self._manners.master, sandbox_id)

    def _narrate(self, session: Session) -> list[str]:
        return [line(event.type, event.payload) for event in self._behind.latest_events(session.id, 6)]

    async def _authorize(self, token: str, kind: TokenKind) -> SandboxGrant | None:
        session = await asyncio.to_thread(self._behind.assignments.identify, token, kind)
        if session is None:
            return None
        hosts = session.allowed_hosts
        trace = traces.trace_of(session)
        return SandboxGrant(session.id, session.sandbox_id, session.model, hosts, session.account, trace)
