"""The full form: sandboxes and the gateway are containers of the real images, in a network of their own."""

import time
from contextlib import ExitStack
from pathlib import Path

import httpx2

from opensessions.local.demo_model.app import create_demo_model
from tests.e2e.target import until
from tests.images.building import built
from tests.images.podman import prepared
from tests.rehearsal.deployment import Deployment
from tests.rehearsal.emulator_process import Emulator
from tests.rehearsal.served import Served
from tests.rehearsal.system import System


def build() -> None:
    """Have the images, and what containers need. Raises Unbuilt."""
    prepared(ip="iproute2", iptables="iptables")
    for image in ("gateway", "sandbox"):
        built(image)


class FullRehearsal(System):
    """What the security groups and routes of the deployed stack say holds for packets; the gateway is the
    stack's own service. `context` comes on top of the usual one; `deployment.times` are seconds.
    """

    def __init__(self, folder: Path, **context: str) -> None:
        build()
        began = time.monotonic()
        with ExitStack() as undo:
            model = Served(create_demo_model())
            undo.callback(model.close)
            emulator = Emulator(folder / "emulator.log", model=model.address)
            undo.callback(emulator.stop)
            self.deployment = Deployment(emulator, folder, images="localhost/opensessions:latest", **context)
            super().__init__(*self.deployment.first())
            undo.callback(self.close)
            host, port = emulator.tell("/balancer")["address"]
            until(lambda: _answers(f"http://{host}:{port}/healthz"))
            self.front_door.gateways = [(host, port)]
            self._undo = undo.pop_all()
        self.deployment.times["all"] = round(time.monotonic() - began, 1)

    def log(self) -> str:
        return f"{super().log()}\n{self.emulator.tell('/said')}"

    def stop(self) -> None:
        self._undo.close()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False
