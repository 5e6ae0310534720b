"""A Docker client in small: a sandbox's container is a bubblewrap process, any other one a mere record."""

import itertools
import os
import re
import signal
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from opensessions.local.walls import chores, furnishing, preflight
from opensessions.local.walls.bubblewrap import Bind
from opensessions.local.walls.furnishing import Places
from opensessions.local.walls.jail import Jail
from opensessions.local.walls.limits import Limits
from opensessions.local.walls.spawner import Spawner
from opensessions.local.walls.venv import VENV
from opensessions.local.walls.workspaces import UidRange, Workspaces
from tests.rehearsal.emulator.containers import NAME, Container, Images
from tests.rehearsal.emulator.ways import Way, Ways, listening

_INSIDE = "127.0.0.2"
_HOSTS = f"127.0.0.1 localhost\n{_INSIDE} gateway.opensessions.internal\n"
_RELAY = "/opt/rehearsal/relay.py"
_IMAGE = {
    "PATH": f"/workspace/home/.local/bin:/usr/local/bin:/usr/bin:/bin:{VENV}/bin",
    "HOME": "/workspace/home",
    "LANG": "C.UTF-8",
}
"""What an image's own ENV would say."""


class Sandbox(Container):
    """A container whose jail has been opened."""

    def __init__(
        self, image: str, kwargs: Mapping[str, Any], way: Way, jail: Jail, clear: Callable[[], None]
    ) -> None:
        super().__init__(image, kwargs, way.address)
        self._jail, self._clear = jail, clear
        self._over = threading.Event()
        jail.open(b"", self._ended)

    def _ended(self) -> None:
        self.code = _code(self._jail.status())
        self.status = "exited"
        self._clear()
        self._over.set()

    def logs(self, **options: Any) -> Any:
        text = self._jail.output.tail(lines=200, characters=20_000).encode()
        return iter(()) if options.get("stream") else text

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self._jail.gate, number)

    def stop(self, timeout: float = 10) -> None:
        if not self._over.is_set():
            self.kill(signal.SIGTERM)
            if not self._over.wait(timeout):
                self._jail.end()


@dataclass
class Docker:
    """`containers` and `images` are all that ministack uses of a client. Close it at the end."""

    folder: Path
    places: Places
    ways: Ways
    all: dict[str, Container] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._limits = Limits()
        self._spawner = Spawner(preflight.bubblewrap_program(), self._limits, {"/etc/hosts": _HOSTS})
        self._workspaces = Workspaces(self.places.workspaces, UidRange() if os.geteuid() == 0 else None)
        self._addresses = (f"127.77.250.{number}" for number in itertools.count(1))

    @property
    def calls(self) -> Mapping[str, Callable[[dict[str, Any]], None]]:
        """For the tests: `/gateways` `{"gateways": [{port: [host, port]}]}`, where sandboxes find them."""
        return {"/gateways": self._lead}

    def _lead(self, body: dict[str, Any]) -> None:
        self.ways.gateways = [
            {int(port): (host, real) for port, (host, real) in gateway.items()}
            for gateway in body["gateways"]
        ]

    @property
    def containers(self) -> "Docker":
        return self

    @property
    def images(self) -> Images:
        return Images()

    def get(self, wanted: str) -> Container:
        return self.all[wanted]

    def list(self, **options: Any) -> list[Container]:
        return [each for each in self.all.values() if options.get("all") or each.status == "running"]

    def run(self, image: str, **kwargs: Any) -> Container:
        if kwargs["labels"][NAME] == "sandbox":
            made: Container = self._sandbox(image, kwargs)
        else:
            made = Container(image, kwargs, next(self._addresses))
        self.all[made.id] = made
        return made

    def _sandbox(self, image: str, kwargs: Mapping[str, Any]) -> Sandbox:
        told: Mapping[str, str] = kwargs["environment"]
        around = [urlsplit(told[name]) for name in ("GATEWAY_URL", "EGRESS_URL")]
        ports = [int(url.port or 80) for url in around]
        way = self.ways.open(ports)
        workspace, uid = self._workspaces.make(f"sb-{uuid.uuid4().hex}")
        door = listening(way.door)
        try:
            words = [str(door), told["DOOR_PORT"], _INSIDE, *map(str, ports)]
            command = (
                f"{VENV}/bin/python",
                "-I",
                _RELAY,
                *words,
                "--",
                *furnishing.worker_command(self.places),
            )
            recipe = furnishing.recipe(self.places, workspace, command, {**_IMAGE, **told}, self._limits)
            sockets = [Bind(way.out(port), f"/run/{port}.sock") for port in ports]
            relay = Bind(Path(__file__).with_name("relay.py"), _RELAY)
            recipe = replace(recipe, binds=(*recipe.binds, relay, *sockets))
            jail = Jail(self._spawner, recipe, uid, keep=[door])
        finally:
            os.close(door)

        def clear() -> None:
            self.ways.close(way)
            chores.empty(self._spawner, workspace, uid)
            workspace.rmdir()

        return Sandbox(image, kwargs, way, jail, clear)

    def close(self) -> None:
        for container in self.list():
            container.stop(0)
        self._spawner.close()


def _code(words: str) -> int:
    """The exit code that a container would have, from how a jail says that it ended."""
    number = re.search(r"status (\d+)", words)
    killed = re.search(r"SIG[A-Z]+", words)
    return int(number[1]) if number else 128 + signal.Signals[killed[0]] if killed else 1
