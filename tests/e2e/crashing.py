"""The local server with a fault in it: at a named point of hibernation, waking or going back it kills one
sandbox, or itself. `python -m tests.e2e.crashing`, armed by a file (`arm`), which the fault uses up.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from opensessions.events import Hibernate, Restore
from opensessions.local import server
from opensessions.local.wiring import System
from opensessions.models import NOTHING, Changes, SandboxStatus, Session

POINTS = (
    "hibernate: told",
    "hibernate: a part is stored",
    "hibernate: all is stored",
    "hibernate: asleep",
    "wake: wanted",
    "wake: launched",
    "wake: unpacking",
    "wake: ready",
    "restore: told",
    "restore: done",
    "restore: kept",
)
VICTIMS = ("sandbox", "server")


def arm(data: Path, point: str, victim: str) -> None:
    """Have the server of this data directory fail once at a point."""
    part = data / "armed.part"
    part.write_text(json.dumps([point, victim]))
    part.rename(data / "armed.json")


def fired(data: Path) -> bool:
    """Whether it did."""
    return not (data / "armed.json").exists()


class Crashing(System):
    """The wiring, with an ear at each point."""

    def __init__(self, settings: Any, *args: Any) -> None:
        super().__init__(settings, *args)
        self._armed = settings.data_dir.parent / "armed.json"
        self._phase = ""
        self.store.commit = self._commit(self.store.commit)  # type: ignore[method-assign]
        self.runtime.launch = self._launch(self.runtime.launch)  # type: ignore[method-assign]
        self.blobs.put = self._put(self.blobs.put)  # type: ignore[method-assign]
        self.blobs.get = self._get(self.blobs.get)  # type: ignore[method-assign]

    def _commit(self, real: Callable[..., Session]) -> Callable[..., Session]:
        def commit(before: Any, after: Session, changes: Changes = NOTHING, **more: Any) -> Session:
            kinds = {event.type for event in changes.events}
            if "restored" in kinds:
                self._reach("restore: done", after)
            saved = real(before, after, changes, **more)
            self._asked(saved, changes)
            if kinds & {"sandbox_ready"} and self._phase == "wake":
                self._reach("wake: ready", saved)
            return saved

        return commit

    def _asked(self, saved: Session, changes: Changes) -> None:
        for _, item in changes.inbox:
            if isinstance(item, Hibernate):
                self._phase = "hibernate"
                self._reach("hibernate: told", saved)
            elif isinstance(item, Restore):
                self._phase = "restore"
                self._reach("restore: told", saved)
        if "hibernated" in {event.type for event in changes.events}:
            self._reach("hibernate: asleep", saved)
        if saved.head.sandbox_status is SandboxStatus.STARTING and not saved.tokens:
            self._phase = "wake"
            self._reach("wake: wanted", saved)

    def _launch(self, real: Callable[..., None]) -> Callable[..., None]:
        def launch(wanted: Any) -> None:
            real(wanted)
            if self._phase == "wake":
                self._reach("wake: launched", self.store.find(wanted.sandbox_id))

        return launch

    def _put(self, real: Callable[..., None]) -> Callable[..., None]:
        def put(key: str, data: bytes) -> None:
            real(key, data)
            session = self.store.get(key.split("/")[1])
            if "/archives/" in key and self._phase == "hibernate":
                whole = key.endswith("/manifest")
                self._reach("hibernate: all is stored" if whole else "hibernate: a part is stored", session)
            elif key.endswith("/manifest") and self._phase == "restore":
                self._reach("restore: kept", session)

        return put

    def _get(self, real: Callable[..., bytes | None]) -> Callable[..., bytes | None]:
        def get(key: str) -> bytes | None:
            if "/archives/" in key and key.endswith("/0") and self._phase == "wake":
                self._reach("wake: unpacking", self.store.get(key.split("/")[1]))
            return real(key)

        return get

    def _reach(self, point: str, session: Session | None) -> None:
        with suppress(FileNotFoundError):
            armed, victim = json.loads(self._armed.read_text())
            if armed != point or session is None:
                return
            self._armed.unlink()
            if victim == "server":
                os.kill(os.getpid(), signal.SIGKILL)
            for sandbox in self.runtime._all():
                if sandbox.launch.sandbox_id == session.sandbox_id:
                    os.kill(sandbox.init, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(server.main(Crashing))
