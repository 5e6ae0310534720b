"""Killed at any point of falling asleep, waking and going back: no workspace is lost or comes back in part,
no session is stuck, no sandbox left running, and no archive left over.

One round each by default; `OPENSESSIONS_ROUNDS` says more (`make test-crashes`).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.crashing import POINTS, arm, fired
from tests.e2e.server import Server, until
from tests.e2e.target import Target
from tests.e2e.test_main_job import words
from tests.e2e.test_resilience import family, gone
from tests.e2e.test_sleeping import REMEMBER, post, saved, visited
from tests.e2e.workspace import still, tree

ROUNDS = int(os.environ.get("OPENSESSIONS_ROUNDS", "0"))
CASES = [(point, victim) for point in POINTS for victim in ("sandbox", "server")]
if not ROUNDS:
    CASES = [(point, ("sandbox", "server")[n % 2]) for n, point in enumerate(POINTS)]


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("crashing"), module="tests.e2e.crashing").start()
    yield running
    if running.process.poll() is None:
        running.stop()


@pytest.mark.parametrize("turn", range(max(1, ROUNDS)))
@pytest.mark.parametrize(("point", "victim"), CASES, ids=lambda value: value.replace(": ", "-"))
def test_nothing_is_lost(crashing: Server, point: str, victim: str, turn: int) -> None:
    session = crashing.create("Build a counter app called First")
    crashing.turn(session)
    saved(crashing, session, 1)
    first = still(tree(crashing, session))
    if point.startswith("restore"):
        crashing.turn(crashing.get(session), "call it Second")
        saved(crashing, session, 2)
    idle = set(family(crashing))
    go(crashing, session, point, victim)

    page = visited(crashing, session)
    assert "First" in page and "Second" not in page
    assert still(tree(crashing, session)) == first
    ready = until(lambda: (now := crashing.get(session))["status"] == "ready" and now, 60)
    said = words(crashing.turn(ready, REMEMBER))
    assert "called First" in said and "Second" not in said
    gapless(crashing, session)
    settled(crashing, session)
    sandboxes = [each for each in family(crashing) if each not in idle]
    crashing.delete(session)
    until(lambda: gone(sandboxes), 10)
    settled(crashing, session)


def go(server: Server, session: dict[str, Any], point: str, victim: str) -> None:
    """Have it fail at the point, and go through with what was begun, as its caller would."""
    before = server.get(session)["lastSeq"]
    if point.startswith("wake"):
        asleep(server, session)
    arm(server.data, point, victim)
    if point.startswith("hibernate"):
        attempt(server, f"sessions/{session['id']}/hibernate")
    elif point.startswith("restore"):
        attempt(server, f"sessions/{session['id']}/restore", version=1)
    else:
        look(server, session)
    until(lambda: fired(server.data), 30)
    if victim == "server":
        server.process.wait(10)
        server.http.close()
        server.start()
    if point.startswith("restore"):
        restored(server, session, before)


def attempt(server: Server, path: str, **body: Any) -> None:
    """A call whose answer may be cut off."""
    try:
        post(server, path, **body)
    except Exception as error:
        assert "Disconnected" in repr(error) or "ReadError" in repr(error) or "Connect" in repr(error), error


def look(server: Server, session: dict[str, Any]) -> None:
    try:
        server.preview(session, **{"Sec-Fetch-Dest": "document"})
    except Exception as error:
        assert "Error" in type(error).__name__, error


def asleep(server: Target, session: dict[str, Any]) -> None:
    post(server, f"sessions/{session['id']}/hibernate")
    until(lambda: server.get(session)["sandboxStatus"] == "hibernated", 30)


def restored(server: Server, session: dict[str, Any], after: int) -> None:
    """The session is back at its first version: asked again, if the call came to nothing."""

    def look() -> bool:
        path = f"/v1/sessions/{session['id']}/events/page"
        told = server.http.get(path, params={"after": str(after), "limit": "500"}).json()["data"]
        return any(event["type"] == "restored" for event in told)

    until(look, 60)


def gapless(server: Server, session: dict[str, Any]) -> None:
    path = f"/v1/sessions/{session['id']}/events/page"
    told = server.http.get(path, params={"limit": "500"}).json()["data"]
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))


def settled(server: Server, session: dict[str, Any]) -> None:
    """Every archive on the disk is whole, and there are no more than a session keeps."""

    def look() -> bool:
        folder = Path(server.data / "data" / "blobs" / "sessions" / session["id"] / "archives")
        archives = list(folder.iterdir()) if folder.exists() else []
        return len(archives) <= 3 and all((archive / "manifest").exists() for archive in archives)

    until(look, 90)
