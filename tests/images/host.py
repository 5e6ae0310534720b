"""A gateway on the ports that sandboxes know, in front of a service whose sandboxes are containers."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from starlette.responses import PlainTextResponse

from gateway.assembly import Behind, Gateway, Manners
from gateway.egress_policy import EgressPolicy
from gateway.listeners import Listeners, front, unix_socket
from gateway.model_body import ModelRules
from gateway.model_upstream import Upstream
from gateway.resolver import SystemResolver
from opensessions.access import tokens
from opensessions.http import callback
from opensessions.local.demo_model import demo_model
from opensessions.models import Event, Session
from opensessions.ports import Launch
from tests.fakes import FakeRuntime, World, world
from tests.images.podman import AS_A_TASK, podman, said

DOMAIN = "preview.test"
TASK = ("--network=host", *AS_A_TASK)


@dataclass
class Containers(FakeRuntime):
    """Runs the image as Fargate does, with what `infra/sandbox.py` puts into the environment."""

    image: str
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def launch(self, launch: Launch) -> None:
        super().launch(launch)
        told = {"SANDBOX_ID": launch.sandbox_id, "BOOT_TICKET": tokens.boot_ticket(launch.token)}
        variables = [f"--env={name}={value}" for name, value in (self.environment | told).items()]
        podman("run", "--detach", "--init", *TASK, f"--name={launch.sandbox_id}", *variables, self.image)

    def stop(self, sandbox_id: str) -> None:
        super().stop(sandbox_id)
        podman("rm", "--force", "--volumes", "--time=5", "--ignore", sandbox_id)

    def log(self, sandbox_id: str) -> str:
        return said(sandbox_id)


@dataclass
class Host:
    here: World
    runtime: Containers
    front: str

    async def create(self, prompt: str) -> Session:
        return await asyncio.to_thread(self.here.create, prompt)

    async def send(self, session: Session, text: str) -> Session:
        return await asyncio.to_thread(
            self.here.service.send, session.account, session.id, session.user_id, text
        )

    async def events(self, session: Session, last: str, after: int = 0, seconds: float = 90) -> list[Event]:
        """The events after `after` up to the first of the type `last`."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            seen = self.here.store.events(session.id, after, 1000)
            for number, event in enumerate(seen, 1):
                if event.type == last:
                    return seen[:number]
            await asyncio.sleep(0.1)
        told = [(event.type, event.payload) for event in seen if event.type in ("error", last)]
        raise AssertionError(f"no {last}: {told}\n{self.runtime.log(session.sandbox_id)}")

    async def preview(self, session: Session, path: str = "/") -> httpx2.Response:
        name = f"{session.sandbox_id}-p3000.{DOMAIN}"
        async with httpx2.AsyncClient(base_url=self.front, trust_env=False) as client:
            return await client.get(path, headers={"Host": name})


@asynccontextmanager
async def host(image: str, folder: Path) -> AsyncIterator[Host]:
    """Serves until left; then every container is gone."""
    inbox, egress, public = (socket.create_server(("127.0.0.1", 0)) for _ in range(3))
    door = _free_port()
    runtime = Containers(image, {**_addresses(inbox, egress), "DOOR_PORT": str(door)})
    here = world(folder, runtime=runtime)
    listeners = Listeners()
    async with _callback(here) as called:
        gateway = Gateway(_behind(here, called, door), _manners(folder / "model.sock"))
        listeners.open(demo_model, unix_socket(str(folder / "model.sock")))
        await listeners.open_plain(gateway.egress, egress)
        listeners.open(gateway.sandbox_app, inbox)
        listeners.open(PlainTextResponse("no API here"), public, front(gateway.previews))
        try:
            yield Host(here, runtime, _url(public))
        finally:
            for sandbox_id in runtime.running():
                await asyncio.to_thread(runtime.stop, sandbox_id)
            await gateway.drain(streams=0.5, calls=0.5)
            await listeners.close()
            here.store.close()  # type: ignore[attr-defined]


def _callback(here: World) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=callback.create_app(here.testimony))
    return httpx2.AsyncClient(transport=transport, base_url="http://callback")


def _behind(here: World, called: httpx2.AsyncClient, door: int) -> Behind:
    def dial(sandbox_id: str, port: int) -> tuple[str, int]:
        session = here.store.find(sandbox_id)
        assert session and session.address
        return session.address, door

    return Behind(
        find=here.store.find,
        events=here.store.events,
        latest_events=here.store.latest_events,
        assignments=here.testimony,
        sessions=here.service,
        blobs=here.blobs,
        dial=dial,
        callback=called,
    )


def _manners(model: Path) -> Manners:
    return Manners(
        master=bytes(32),
        preview_domain=DOMAIN,
        preview_url=lambda sandbox, port: f"https://{sandbox}-p{port}.{DOMAIN}",
        upstream=Upstream("http://demo-model", unix_socket=model),
        policy=EgressPolicy(allow=()),
        resolve=SystemResolver(),
        models=ModelRules(),
        allow_query_key=False,
        inbox_poll_seconds=0.5,
    )


def _addresses(inbox: socket.socket, egress: socket.socket) -> dict[str, str]:
    return {"GATEWAY_URL": _url(inbox), "EGRESS_URL": _url(egress)}


def _url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port
