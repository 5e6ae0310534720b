"""Sandboxes that wait for sessions: each serves one, and nothing is left over, whatever dies."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.server import Server, until
from tests.e2e.test_resilience import family, gone

SECONDS = 90


def pooled(folder: Path, size: int) -> Server:
    return Server(folder, environment={"OPENSESSIONS_WARM_POOL": str(size)})


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Server]:
    """A server with one spare at a time, not started yet."""
    made = pooled(tmp_path, 1)
    yield made
    if made.process.poll() is None:
        assert made.stop() == 0


def spares(server: Server) -> list[dict[str, Any]]:
    """The pool's records, as the server keeps them."""
    with closing(sqlite3.connect(f"file:{server.data}/data/sessions.db?mode=ro", uri=True)) as db:
        return [json.loads(body) for (body,) in db.execute("SELECT body FROM spare")]


def ready(server: Server, size: int = 1) -> set[str]:
    """The sandboxes of the pool, once all are ready."""

    def full() -> set[str] | None:
        found = {spare["sandbox_id"] for spare in spares(server) if spare["state"] == "ready"}
        return found if len(found) == size else None

    return until(full, SECONDS) or set()


def test_a_pool_of_three_and_five_sessions_at_once(tmp_path: Path) -> None:
    server = pooled(tmp_path, 3).start()
    waiting = ready(server, 3)
    with ThreadPoolExecutor(5) as threads:
        sessions = list(threads.map(lambda n: server.create(f"run: echo this is {n}"), range(5)))
    taken = {session["sandboxId"] for session in sessions}
    assert len(taken) == 5 and waiting < taken
    for number, session in enumerate(sessions):
        told = server.events(session, "turn_complete", seconds=SECONDS)
        assert told[-1]["reason"] == "completed" and f"this is {number}" in json.dumps(told)
        assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
        server.delete(session)
    assert not ready(server, 3) & taken, "none serves two"
    processes = family(server)
    assert server.stop() == 0, server.log()
    assert gone(processes)


def test_a_spare_that_dies_costs_nobody_a_session_taken_or_not(warm: Server) -> None:
    warm.start()
    before = set(family(warm))
    first = ready(warm)
    sandbox = [process for process in family(warm) if process not in before]
    kill(sandbox)
    until(lambda: first.isdisjoint(spare["sandbox_id"] for spare in spares(warm)))
    second = ready(warm)
    assert second.isdisjoint(first) and gone(sandbox)
    sandbox = [process for process in family(warm) if process not in before]
    session = warm.create("run: echo still here")
    assert session["sandboxId"] in second
    kill(sandbox)
    told = warm.events(session, "turn_complete", seconds=SECONDS)
    assert told[-1]["reason"] == "completed" and "still here" in json.dumps(told)
    assert not any(event["type"] == "error" for event in told)
    warm.delete(session)
    assert gone(sandbox)


def test_a_server_that_is_killed_leaves_no_process_and_no_stale_record(warm: Server) -> None:
    warm.start()
    waiting = ready(warm)
    session = warm.create("sleep 600")
    assert session["sandboxId"] in waiting
    later = ready(warm)
    processes = family(warm)
    warm.stop(signal.SIGKILL)
    until(lambda: gone(processes), 5)
    assert {spare["sandbox_id"] for spare in spares(warm)} == later
    warm.start()
    assert ready(warm).isdisjoint(later | waiting)
    other = warm.create("run: echo once more")
    assert other["sandboxId"] not in later
    assert warm.events(other, "turn_complete", seconds=SECONDS)[-1]["reason"] == "completed"
    for each in (session, other):
        warm.delete(each)


def test_a_session_that_took_a_spare_can_be_deleted_at_once(warm: Server) -> None:
    warm.start()
    before = set(family(warm))
    waiting = ready(warm)
    sandbox = [process for process in family(warm) if process not in before]
    session = warm.create("sleep 600")
    assert session["sandboxId"] in waiting
    assert warm.delete(session)["status"] == "ended"
    assert gone(sandbox)


def kill(processes: list[psutil.Process]) -> None:
    """The first is the sandbox's own; it takes all others with it."""
    processes[0].kill()
