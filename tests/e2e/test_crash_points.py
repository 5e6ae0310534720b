"""Killed at any point of falling asleep, waking and going back: no workspace is lost or comes back in part,
no session is stuck, no sandbox left running, and no archive left over.

One round of every third point by default; `OPENSESSIONS_ROUNDS` says how many of each (`make
test-crashes`), the sandbox and the server being the victim by turns. A session that came through a round goes
on into the next.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.e2e.crashing import POINTS, VICTIMS, arm, fired
from tests.e2e.server import Server, until
from tests.e2e.target import Target
from tests.e2e.test_resilience import family
from tests.e2e.test_sleeping import as_the_first, post, saved
from tests.e2e.workspace import still, tree

ROUNDS = int(os.environ.get("OPENSESSIONS_ROUNDS", "0"))
CASES = [
    (point, VICTIMS[(place + number) % 2], number)
    for place, point in enumerate(POINTS)
    for number in range(ROUNDS or place % 3 // 2)
]
Crashed = tuple[Server, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashed]:
    """A server that fails when it is told to, and the session, once there is one that is well."""
    running, well = Server(tmp_path_factory.mktemp("crashing"), module="tests.e2e.crashing").start(), []
    yield running, well
    for session in well:
        running.delete(session)
        until(lambda: not workers(running), 10)
        settled(running, session)
    if running.process.poll() is None:
        running.stop()


@pytest.mark.parametrize(
    ("point", "victim", "number"), CASES, ids=lambda value: str(value).replace(": ", "-")
)
def test_nothing_is_lost(crashing: Crashed, point: str, victim: str, number: int) -> None:
    server, well = crashing
    if server.process.poll() is not None:  # in a round that failed
        server.start()
    session = well.pop() if well else built(server)
    first = still(tree(server, session))
    before = server.get(session)
    if point.startswith("restore"):
        server.turn(server.get(session), "call it Second")
        until(lambda: newest(server, session) > before["version"])
    kept = newest(server, session)
    go(server, session, point, victim, before["version"])

    as_the_first(server, session, first)
    saved(server, session, kept + 1)
    gapless(server, session, before["lastSeq"])
    settled(server, session)
    until(lambda: len(workers(server)) == 1, 10)
    well.append(session)


def built(server: Server) -> dict[str, Any]:
    for process in workers(server):  # of a session that did not come through
        process.kill()
    session = server.create("Build a counter app called First")
    server.turn(session)
    saved(server, session, 1)
    return session


def workers(server: Server) -> list[psutil.Process]:
    """The worker of each sandbox that runs."""
    return [process for process in family(server) if _works(process)]


def _works(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        words = process.cmdline()
        return bool(words) and words[0].endswith("python") and "sandbox_task.worker" in words[-1]
    return False


def newest(server: Server, session: dict[str, Any], after: int = 0) -> int:
    """The number of the newest version, at least `after`."""
    path = f"/v1/sessions/{session['id']}/versions"
    page = server.http.get(path, params={"after": str(after), "limit": "100"}).json()
    found = max((int(each["number"]) for each in page["data"]), default=after)
    return newest(server, session, found) if page["has_more"] else found


def go(server: Server, session: dict[str, Any], point: str, victim: str, version: int) -> None:
    """Have it fail at the point, and go through with what was begun, as its caller would."""
    before = server.get(session)["lastSeq"]
    if point.startswith("wake"):
        asleep(server, session)
    arm(server.data, point, victim)
    if point.startswith("hibernate"):
        attempt(server, f"sessions/{session['id']}/hibernate")
    elif point.startswith("restore"):
        attempt(server, f"sessions/{session['id']}/restore", version=version)
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
    with suppress(httpx2.TransportError):
        post(server, path, **body)


def look(server: Server, session: dict[str, Any]) -> None:
    with suppress(httpx2.TransportError):
        server.preview(session, **{"Sec-Fetch-Dest": "document"})


def asleep(server: Target, session: dict[str, Any]) -> None:
    post(server, f"sessions/{session['id']}/hibernate")
    until(lambda: server.get(session)["sandboxStatus"] == "hibernated", 30)


def restored(server: Server, session: dict[str, Any], after: int) -> None:
    """Wait until the session is back at the version."""

    def look() -> bool:
        path = f"/v1/sessions/{session['id']}/events/page"
        told = server.http.get(path, params={"after": str(after), "limit": "500"}).json()["data"]
        return any(event["type"] == "restored" for event in told)

    until(look, 60)


def gapless(server: Server, session: dict[str, Any], after: int) -> None:
    path = f"/v1/sessions/{session['id']}/events/page"
    told = server.http.get(path, params={"after": str(after), "limit": "500"}).json()["data"]
    assert [event["seq"] for event in told] == list(range(after + 1, after + len(told) + 1))


def settled(server: Server, session: dict[str, Any]) -> None:
    """Every archive on the disk is whole, and there are no more than a session keeps."""

    def look() -> bool:
        folder = Path(server.data / "data" / "blobs" / "sessions" / session["id"] / "archives")
        archives = list(folder.iterdir()) if folder.exists() else []
        return len(archives) <= 3 and all((archive / "manifest").exists() for archive in archives)

    until(look, 90)
