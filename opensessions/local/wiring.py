"""How the parts of the system are put together on one machine."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2
from starlette.types import ASGIApp

import sandbox_task
from gateway.boot import Boot
from gateway.egress import EgressProxy
from gateway.egress_policy import EgressPolicy
from gateway.grants import SandboxGrant, TokenKind
from gateway.hub import Hub
from gateway.inbox import Inbox
from gateway.model import ModelListeners, ModelProxy
from gateway.model_upstream import Upstream
from gateway.previews import Previews
from gateway.relay import Relay
from gateway.resolver import SystemResolver
from gateway.sandbox_side import sandbox_app
from gateway.sse import OpenStreams
from gateway.streams import EventStreams, streams_app
from opensessions import events, handshake, tokens
from opensessions.handshake import door_key
from opensessions.http import api, callback
from opensessions.http.event_lines import line
from opensessions.lifecycle import Deadlines
from opensessions.local.files import FileBlobs
from opensessions.local.public import PublicApp
from opensessions.local.sandboxes import LocalSandboxes, Places
from opensessions.local.settings import Settings, kept_secret
from opensessions.local.sqlite import SqliteStore
from opensessions.models import Session
from opensessions.service import Quota, Service
from opensessions.supervisor import Supervisor
from opensessions.testimony import Testimony

ACCOUNT = "local"
REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Sockets:
    """Where the parts meet on this machine; all in a folder that nobody else can enter."""

    run: Path

    @property
    def gateway(self) -> Path:
        return self.run / "gateway.sock"

    @property
    def egress(self) -> Path:
        return self.run / "egress.sock"

    @property
    def demo(self) -> Path:
        return self.run / "demo.sock"


def _straight(app: ASGIApp) -> httpx2.AsyncBaseTransport:
    return httpx2.ASGITransport(app=app, raise_app_exceptions=False)


class System:
    """Everything that serves, wired. Make it inside the running event loop; `close` ends all sandboxes.

    `port` is the one that the public side listens on. `callback_transport` stands between the relay and the
    callback; None is the straight way.
    """

    def __init__(
        self,
        settings: Settings,
        sockets: Sockets,
        port: int,
        callback_transport: Callable[[ASGIApp], httpx2.AsyncBaseTransport] = _straight,
    ) -> None:
        master = kept_secret(settings.data_dir / "master.key", lambda: secrets.token_hex(32))
        self.api_key = settings.api_key or kept_secret(settings.data_dir / "api.key", tokens.api_key)
        self._domain, self._port, self._master = settings.preview_domain, port, bytes.fromhex(master)
        self.store = SqliteStore(settings.data_dir / "sessions.db")
        self.store.put_key(tokens.sha256(self.api_key), ACCOUNT)
        self.runtime = LocalSandboxes(_places(settings, sockets), self._stopped)
        self._wire_service(FileBlobs(settings.data_dir / "blobs"))
        self._wire_gateway(settings, sockets, callback_transport)

    def _wire_service(self, blobs: FileBlobs) -> None:
        self.hub = Hub(self.store.events)
        now = lambda: datetime.now(UTC)  # noqa: E731
        new_id = lambda: secrets.token_hex(16)  # noqa: E731
        self.supervisor = Supervisor(
            self.store, self.runtime, clock=now, wake=self.wake, deadlines=Deadlines()
        )
        self.testimony = Testimony(self.store, blobs, clock=now, wake=self.wake, preview_url=self.preview_url)
        self.service = Service(
            self.store,
            self.supervisor,
            clock=now,
            new_id=new_id,
            preview_url=self.preview_url,
            wake=self.wake,
            quota=Quota(),
        )

    def _wire_gateway(
        self,
        settings: Settings,
        sockets: Sockets,
        callback_transport: Callable[[ASGIApp], httpx2.AsyncBaseTransport],
    ) -> None:
        self.streams = OpenStreams()
        self._telling: set[asyncio.Future[httpx2.Response]] = set()
        self.previews = Previews(
            settings.preview_domain,
            find=self.store.find,
            dial=self.runtime.dial,
            door_key=self._door_key,
            preview_url=self.preview_url,
            narrate=self._narrate,
        )
        transport = callback_transport(callback.create_app(self.testimony))
        self._callback = httpx2.AsyncClient(transport=transport, base_url="http://callback")
        listeners = ModelListeners(wants_deltas=self.hub.wants_deltas, on_delta=self.hub.delta)
        self.model = ModelProxy(self._authorize, _upstream(settings, sockets), listeners=listeners)
        inbox = Inbox(
            self.testimony, self.hub.bells, self.streams, door_key_of=self._door_key, on_connected=_ignore
        )
        relay = Relay(self.testimony.identify, self._callback, self.wake)
        self.sandbox_app = sandbox_app(Boot(self._callback), inbox, relay, self.model)
        policy = EgressPolicy(settings.egress_allow, own_names=(settings.preview_domain, "localhost"))
        self.egress = EgressProxy(self._authorize, policy, SystemResolver(), on_refused=self._refused)
        streams = EventStreams(self.service, self.hub, self.streams, allow_query_key=True)
        self.public_app = PublicApp(api.create_app(self.service), streams_app(streams), self._port)

    def preview_url(self, sandbox_id: str, port: int | str = 3000) -> str:
        """The public address of a sandbox's port."""
        return f"http://{sandbox_id}-p{port}.{self._domain}:{self._port}"

    def wake(self, session_id: str) -> None:
        """Something of a session is new; whoever waits for it is told. From any thread."""
        self.hub.wake(session_id)
        self.previews.changed(session_id)

    async def drain(self) -> None:
        """End streams kindly and let model calls finish for a moment."""
        await asyncio.gather(
            self.streams.drain(within=1.0),
            self.model.aclose(deadline=0.5),
            self.previews.client.shutdown(1.0),
            self.egress.aclose(),
        )

    def _stopped(self, sandbox_id: str, launch: int, reason: str) -> None:
        self.supervisor.sandbox_stopped(sandbox_id, launch, reason)

    def _refused(self, session_id: str, host: str, reason: str) -> None:
        notice = {"session_id": session_id, "message": f"{host}: {reason}", "code": "egress_refused"}
        telling = asyncio.ensure_future(self._callback.post("/callback/v1/notices", json=notice))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    def _door_key(self, sandbox_id: str) -> str:
        return door_key(self._master, sandbox_id)

    def _narrate(self, session: Session) -> list[str]:
        return [line(event.type, event.payload) for event in self.store.latest_events(session.id, 6)]

    async def _authorize(self, token: str, kind: TokenKind) -> SandboxGrant | None:
        session = await asyncio.to_thread(self.testimony.identify, token, kind)
        if session is None:
            return None
        return SandboxGrant(session.id, session.sandbox_id, session.model, session.allowed_hosts)


def _ignore(session: Session, peer: str | None) -> None:
    """Locally a door is where the runtime put it."""


def _places(settings: Settings, sockets: Sockets) -> Places:
    wire = [Path(str(module.__file__)) for module in (events, handshake)]
    code = {f"opensessions/{file.name}": file for file in (*wire, wire[0].parent / "__init__.py")}
    worker = Path(str(sandbox_task.__file__)).parent
    return Places(
        run=sockets.run / "doors",
        workspaces=settings.data_dir / "workspaces",
        gateway=sockets.gateway,
        egress=sockets.egress,
        venv=REPOSITORY / ".venv-sandbox",
        code={**code, "sandbox_task": worker},
    )


def _upstream(settings: Settings, sockets: Sockets) -> Upstream:
    if settings.demo:
        return Upstream("http://demo-model", unix_socket=sockets.demo)
    return Upstream(settings.model_url or "https://api.anthropic.com", settings.anthropic_api_key)
