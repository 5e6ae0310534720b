"""Days pass by the clock that is passed in: an unused session sleeps, and is found as it was left."""

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvloop

from opensessions.local import server, wiring
from opensessions.local.settings import from_environment
from opensessions.local.wiring import System
from opensessions.models import Session
from tests.e2e.server import KEY
from tests.e2e.target import Target, until
from tests.e2e.test_main_job import words
from tests.e2e.test_sleeping import REMEMBER, saved, told, visited
from tests.e2e.workspace import still, tree


class Here(Target):
    """The server, in a thread of this process, with a clock that can leap."""

    key = KEY

    def __init__(self, data: Path) -> None:
        self.told: set[str] = set()
        self._ahead = timedelta()
        self._over: list[BaseException] = []
        self._settings = from_environment(
            {"PORT": "0", "OPENSESSIONS_DATA_DIR": str(data), "OPENSESSIONS_API_KEY": KEY}
        )
        self._serving = threading.Thread(target=self._serve)

    def start(self) -> "Here":
        self._serving.start()
        until(self._answers)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._serving.join(20)
        self.http.close()
        assert not self._over and not self._serving.is_alive(), self._over

    def leap(self, **units: int) -> datetime:
        """Let so much time pass at once, and return what time it is then."""
        self._ahead += timedelta(**units)
        return self.now()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def sweep(self) -> None:
        self._system.supervisor.sweep()

    def until_uses_are_told(self) -> None:
        """What was used before is not to seem used after a leap."""
        until(lambda: self._system.gateway.uses._telling is None)

    def stored(self, session: dict[str, Any]) -> Session:
        found = self._system.store.get(session["id"])
        assert found is not None
        return found

    def preview_url(self, sandbox: str, port: int = 3000) -> str:
        return self._system.preview_url(sandbox, port)

    def log(self) -> str:
        return ""

    def _serve(self) -> None:
        async def main() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await server.serve(self._settings, self._stop, self._wire)

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:
            self._over.append(error)

    def _wire(self, *args: Any) -> System:
        self._system = System(*args, clock=self.now)
        self.url = self.front = f"http://127.0.0.1:{args[2]}"
        self.http = httpx2.Client(base_url=self.url, headers={"X-API-Key": KEY}, timeout=30)
        return self._system

    def _answers(self) -> bool:
        assert not self._over, self._over
        try:
            return hasattr(self, "http") and self.http.get("/healthz").status_code == 200
        except httpx2.TransportError:
            return False


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(server, "SWEEP_SECONDS", 3600.0)  # the test sweeps by itself
    monkeypatch.setattr(wiring, "USES_SECONDS", 0.1)
    running = Here(tmp_path / "data").start()
    yield running
    running.stop()


def test_ten_minutes_unused_it_sleeps_and_two_days_later_a_visit_finds_it_as_it_was(here: Here) -> None:
    session = here.create("Build a counter app")
    restless = here.create("say 3 words", limits={"idle_seconds": "never"})
    watched = here.create("say 3 words")
    for each in (session, restless, watched):
        here.turn(each)
        saved(here, each, 1)
    page, files = here.preview(session).text, still(tree(here, session))
    assert "app/index.html" in files
    here.until_uses_are_told()
    watching = threading.Thread(target=lambda: list(here.stream(watched)))
    watching.start()

    here.sweep()
    assert {here.get(each)["sandboxStatus"] for each in (session, restless, watched)} == {"running"}
    _pass_unused(here, here.leap(seconds=601), watched, session, restless)
    here.sweep()
    told(here, session, "hibernated")
    until(lambda: here.get(session)["sandboxStatus"] == "hibernated")
    for each in (restless, watched):
        assert here.get(each)["sandboxStatus"] == "running"
        here.delete(each)
    watching.join(20)

    here.leap(days=2)
    here.sweep()
    asleep = here.get(session)
    assert (asleep["status"], asleep["sandboxStatus"]) == ("ready", "hibernated")
    assert still(tree(here, session)) == files
    assert visited(here, session) == page
    awake = here.get(session)
    assert awake["previewUrl"] == session["previewUrl"]
    assert told(here, session, "woken", session["lastSeq"])["reason"] == "preview"
    assert still(tree(here, session)) == files
    assert "Build a counter app" in words(here.turn(awake, REMEMBER))
    here.delete(session)


def _pass_unused(here: Here, then: datetime, watched: dict[str, Any], *others: dict[str, Any]) -> None:
    """Wait until all have said since then that they live, and of the watched one alone it is known."""

    def heard() -> bool:
        heads = [here.stored(each).head for each in (watched, *others)]
        return all(head.heard_at is not None and head.heard_at >= then for head in heads)

    def used(session: dict[str, Any]) -> bool:
        at = here.stored(session).head.active_at
        return at is not None and at >= then

    until(lambda: heard() and used(watched), 40)
    assert not any(map(used, others))
