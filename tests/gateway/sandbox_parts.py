"""The sandboxes' side on a real port, over a real service; and a check that it is nowhere else."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from starlette.responses import PlainTextResponse

from gateway.archives import Archives
from gateway.boot import Boot
from gateway.hub import Hub
from gateway.inbox import Assignments, Inbox
from gateway.relay import Relay
from gateway.sandbox_side import sandbox_app
from gateway.sse import OpenStreams
from opensessions.http import callback
from opensessions.models import Session
from opensessions.ports import BlobStore
from tests.fakes import World
from tests.gateway.model_parts import serving
from tests.gateway.stream_parts import Frames

SANDBOX_REQUESTS = [
    ("POST", "/sandbox/v1/boot"),
    ("GET", "/sandbox/v1/inbox"),
    ("POST", "/sandbox/v1/events"),
    ("POST", f"/sandbox/v1/archives/{32 * 'a'}/parts/0"),
    ("PUT", f"/sandbox/v1/archives/{32 * 'a'}/parts/0"),
    ("GET", f"/sandbox/v1/archives/{32 * 'a'}/parts/0"),
    ("POST", f"/sandbox/v1/archives/{32 * 'a'}"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/callback/v1/boot"),
    ("POST", "/callback/v1/events"),
    ("POST", "/callback/v1/notices"),
    ("POST", "/callback/v1/archives"),
    ("POST", "/callback/v1/wakes"),
    ("POST", "/callback/v1/uses"),
]
"""What must be 404 on a public listener, whatever token comes along."""


async def assert_not_public(client: httpx2.AsyncClient, token: str) -> None:
    """Check that a public listener, the client's base URL, knows none of the sandboxes' routes."""
    for method, path in SANDBOX_REQUESTS:
        for headers in ({"Authorization": f"Bearer {token}"}, {"X-API-Key": token}):
            answer = await client.request(method, path, headers=headers, json={})
            assert answer.status_code == 404, f"{method} {path} answered {answer.status_code}"


@dataclass
class Side:
    here: World
    hub: Hub
    open_streams: OpenStreams
    client: httpx2.AsyncClient = field(default_factory=httpx2.AsyncClient)

    def bearer(self, session: Session) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.here.token(session)}"}

    @asynccontextmanager
    async def inbox(self, session: Session, token: str | None = None, **query: Any) -> AsyncIterator[Frames]:
        headers = {"Authorization": f"Bearer {token or self.here.token(session)}"}
        path = "/sandbox/v1/inbox"
        async with self.client.stream("GET", path, headers=headers, params=query) as answer:
            assert answer.status_code == 200, await answer.aread()
            yield Frames(answer)

    async def post(self, session: Session, first_seq: int = 1, *types: str, **more: Any) -> httpx2.Response:
        batch = {"first_seq": first_seq, "events": [{"type": name} for name in types]}
        return await self.client.post(
            "/sandbox/v1/events", headers=self.bearer(session), json={**batch, **more}
        )


@asynccontextmanager
async def sandbox_side(
    here: World,
    *,
    transport: Callable[[httpx2.ASGITransport], httpx2.AsyncBaseTransport] = lambda real: real,
    heartbeat_seconds: float = 10.0,
    poll_seconds: float = 30.0,
    spare_poll_seconds: float = 30.0,
    assignments: Assignments | None = None,
    blobs: BlobStore | None = None,
    **more: Any,
) -> AsyncIterator[Side]:
    """`transport` may put something between the relay and the callback; `more` goes to the relay, and `blobs`
    stands in for those of `here`.
    """
    hub = Hub(here.store.events, poll_seconds=30.0)
    side = Side(here, hub, OpenStreams())
    inbox = Inbox(
        assignments or here.testimony,
        hub.bells,
        side.open_streams,
        door_key_of=lambda sandbox_id: f"key of {sandbox_id}",
        heartbeat_seconds=heartbeat_seconds,
        poll_seconds=poll_seconds,
        spare_poll_seconds=spare_poll_seconds,
    )
    way = transport(httpx2.ASGITransport(app=callback.create_app(here.testimony)))
    async with httpx2.AsyncClient(transport=way, base_url="http://callback") as called:
        relay = Relay(here.testimony.speaker, called, hub.wake, **more)
        archives = Archives(here.testimony.identify, blobs or here.blobs, called, hub.wake)
        model = PlainTextResponse("the model")
        async with (
            serving(sandbox_app(Boot(called), inbox, relay, model, *archives.routes())) as url,
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=10) as side.client,
        ):
            yield side
            await side.open_streams.drain()
