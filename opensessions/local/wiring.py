"""How the parts of the system are put together on one machine."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from starlette.responses import Response
from starlette.types import ASGIApp

import sandbox_task
from gateway.assembly import Behind, Gateway, Manners
from gateway.egress_policy import EgressPolicy
from gateway.model_body import ModelRules
from gateway.model_upstream import KeyAway, Upstream
from gateway.resolver import SystemResolver
from opensessions import archives, events, handshake
from opensessions.access.admission import Admission
from opensessions.access.keys import Keys
from opensessions.errors import StoreError
from opensessions.http import api, callback
from opensessions.http.parameters import Account
from opensessions.local.audit import SqliteAudit
from opensessions.local.courier import Courier
from opensessions.local.database import Database
from opensessions.local.files import FileBlobs
from opensessions.local.hooks import SqliteHooks
from opensessions.local.keyring import SqliteKeyring
from opensessions.local.keys import own_key
from opensessions.local.ledger import SqliteLedger
from opensessions.local.metrics import CONTENT_TYPE, Metrics
from opensessions.local.model_keys import FileModelKeys
from opensessions.local.passes import SqlitePasses
from opensessions.local.pool import SqliteSpares
from opensessions.local.public import PublicApp
from opensessions.local.sandboxes import LocalSandboxes, Places
from opensessions.local.settings import Settings, kept_secret
from opensessions.local.sqlite import SqliteStore
from opensessions.local.timers import Timers
from opensessions.money.allowances import Allowances
from opensessions.money.metering import Metering
from opensessions.money.prices import Prices
from opensessions.pool.pooling import Pooling
from opensessions.pool.unassigned import Unassigned
from opensessions.sessions.keeping import Keeper
from opensessions.sessions.lifecycle import Deadlines
from opensessions.sessions.service import Quota, Service
from opensessions.sessions.supervisor import Supervisor
from opensessions.sessions.testimony import Testimony
from opensessions.webhooks.deliveries import Deliveries
from opensessions.webhooks.destinations import Destinations
from opensessions.webhooks.dispatch import Dispatch
from opensessions.webhooks.endpoints import Webhooks
from opensessions.webhooks.posting import Poster

log = logging.getLogger(__name__)

USES_SECONDS = 5.0
"""The callback is a call in this process, so that a session's use may be told often."""
REFILL_SECONDS = 2.0
"""A sandbox that starts takes a processor for a second; the session that took its place has that first."""
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


def _now() -> datetime:
    return datetime.now(UTC)


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
        clock: Callable[[], datetime] = _now,
    ) -> None:
        master = kept_secret(settings.data_dir / "master.key", lambda: secrets.token_hex(32))
        self.sockets = sockets
        keys = FileModelKeys(settings.data_dir / "model-keys", bytes.fromhex(master))
        self.model_keys = None if settings.demo else keys
        self._domain, self._port, self._master = settings.preview_domain, port, bytes.fromhex(master)
        database = Database(settings.data_dir / "sessions.db")
        self.metrics = Metrics(database, self._streams)
        self._wire_hooks(settings, database, clock)
        keyring, audit = SqliteKeyring(database), SqliteAudit(database)
        self.api_key = own_key(settings, keyring, Keys(keyring, audit, clock))
        passes = SqlitePasses(database)
        self.admission = Admission(self.store, passes, keyring, audit, clock=clock, wake=self.wake)
        self.ledger = SqliteLedger(database, clock)
        self.runtime = LocalSandboxes(_places(settings, sockets), self._stopped)
        self.blobs = FileBlobs(settings.data_dir / "blobs")
        self.timers, self.refills = Timers(self._relaunch), Timers(lambda *_: self.supervisor.pool.fill())
        self.spares = SqliteSpares(database)
        self._wire_service(settings, self.blobs, clock)
        self.gateway = self._gateway(settings, sockets, callback_transport)
        self.public_app = PublicApp(self._api(), self.gateway.streams_app, port)

    def _wire_hooks(self, settings: Settings, database: Database, clock: Callable[[], datetime]) -> None:
        """The store, and who tells webhooks what it stores."""
        self.hooks = SqliteHooks(database, clock)
        self.hooks.set_free()
        self.courier = Courier(lambda errand: self.deliveries.run(errand), lambda: self.dispatch.sweep())
        sending: dict[str, Any] = {"clock": clock, "send": self.courier.send}
        self.dispatch = Dispatch(self.hooks, **sending)
        self.store = SqliteStore(database, stored=self.dispatch.stored)
        to = Destinations((settings.preview_domain,), loopback=settings.webhooks_loopback)
        post = self.metrics.counted(Poster(to, clock))
        self.deliveries = Deliveries(self.store, self.hooks, post, **sending)
        self.webhooks = Webhooks(self.hooks, to, new_id=lambda: secrets.token_hex(16), **sending)

    def _wire_service(self, settings: Settings, blobs: FileBlobs, clock: Callable[[], datetime]) -> None:
        keeper, quota, later = Keeper(blobs, clock), Quota(), self.timers.put_off
        told: dict[str, Any] = {"clock": clock, "wake": self.wake}
        allowances = Allowances(self.ledger, clock=clock, day_cost_usd=settings.day_cost_usd)
        prices = Prices(settings.model_prices)
        self.metering = Metering(self.store, self.ledger, allowances, prices, later=later, **told)
        told["metering"] = self.metering
        named = {**told, "preview_url": self.preview_url, "admission": self.admission}
        self.supervisor = Supervisor(
            self.store,
            self.runtime,
            keeper,
            deadlines=Deadlines(),
            later=later,
            dispatch=self.dispatch,
            pool=self._pool(settings.warm_pool, clock),
            **told,
        )
        self.testimony = Testimony(
            self.store,
            blobs,
            later=later,
            max_live=quota.live,
            unassigned=Unassigned(self.spares, clock=clock, preview_url=self.preview_url),
            **named,
        )
        self.service = Service(
            self.store,
            self.supervisor,
            keeper,
            new_id=lambda: secrets.token_hex(16),
            quota=quota,
            webhooks=self.webhooks,
            models=settings.models,
            model_keys=self.model_keys,
            **named,
        )

    def _pool(self, size: int, clock: Callable[[], datetime]) -> Pooling:
        """Spares end with the server that launched them, so each server's have a fingerprint of their own."""
        return Pooling(
            self.store,
            self.spares,
            self.runtime,
            size=size,
            fingerprint=secrets.token_hex(8),
            clock=clock,
            new_id=lambda: secrets.token_hex(16),
            wake=self.wake,
            later=self.timers.put_off,
            refill=lambda: self.refills.put_off("of the pool", 1, REFILL_SECONDS),
            start_seconds=Deadlines().start,
        )

    def _gateway(
        self,
        settings: Settings,
        sockets: Sockets,
        callback_transport: Callable[[ASGIApp], httpx2.AsyncBaseTransport],
    ) -> Gateway:
        transport = callback_transport(self.metrics.timed(callback.create_app(self.testimony)))
        behind = Behind(
            find=self.store.find,
            events=self.store.events,
            latest_events=self.store.latest_events,
            assignments=self.testimony,
            sessions=self.service,
            blobs=self.blobs,
            dial=self.runtime.dial,
            callback=httpx2.AsyncClient(transport=transport, base_url="http://callback"),
        )
        manners = Manners(
            master=self._master,
            preview_domain=settings.preview_domain,
            preview_url=self.preview_url,
            upstream=_upstream(settings, sockets),
            own_key=self._own_key,
            policy=EgressPolicy(settings.egress_allow, own_names=(settings.preview_domain, "localhost")),
            resolve=SystemResolver(),
            models=ModelRules(settings.models),
            allow_query_key=True,
            uses_seconds=USES_SECONDS,
        )
        return Gateway(behind, manners)

    def _api(self) -> ASGIApp:
        app = api.create_app(self.service)

        def metrics(account: Account) -> Response:
            return Response(self.metrics.text(), media_type=CONTENT_TYPE)

        app.add_api_route("/metrics", metrics)
        return app

    def _streams(self) -> dict[str, float]:
        events, every = len(self.gateway.hub), len(self.gateway.streams)
        return {"events": events, "inbox": max(0, every - events)}

    async def _own_key(self, account: str) -> str | None:
        try:
            return await asyncio.to_thread(self.model_keys.read, account) if self.model_keys else None
        except StoreError as error:
            log.error("%s", error)
            raise KeyAway from None

    def preview_url(self, sandbox_id: str, port: int | str = 3000) -> str:
        """The public address of a sandbox's port."""
        return f"http://{sandbox_id}-p{port}.{self._domain}:{self._port}"

    def wake(self, session_id: str) -> None:
        """Something of a session is new; whoever waits for it is told. From any thread."""
        self.gateway.wake(session_id)

    async def drain(self) -> None:
        """End streams kindly and let model calls finish for a moment."""
        await self.gateway.drain(streams=1.0, calls=0.5)

    def _relaunch(self, sandbox_id: str, launch: int) -> None:
        self.supervisor.relaunch(sandbox_id, launch)

    def _stopped(self, sandbox_id: str, launch: int, reason: str) -> None:
        self.supervisor.sandbox_stopped(sandbox_id, launch, reason)


def _places(settings: Settings, sockets: Sockets) -> Places:
    wire = [Path(str(module.__file__)) for module in (archives, events, handshake)]
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
