"""A gateway is killed while a session falls asleep, wakes or goes back: nothing is lost, nothing is stuck.

One round at each moment by default; `OPENSESSIONS_ROUNDS` says more.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from opensessions.aws.dynamodb import DynamoStore
from tests.e2e.target import until
from tests.e2e.test_sleeping import as_the_first, saved
from tests.e2e.workspace import still, tree
from tests.rehearsal.rehearsal import Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(240)]

ROUNDS = int(os.environ.get("OPENSESSIONS_ROUNDS", "1"))
MOMENTS = (
    "hibernation told",
    "parts are uploaded",
    "wake asked for",
    "the sandbox unpacks",
    "restore told",
)


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("moment", MOMENTS)
def test_nothing_is_lost(server: Rehearsal, moment: str, turn: int) -> None:
    session = server.create("Build a counter app called First")
    server.turn(session)
    saved(server, session, 1)
    first = still(tree(server, session))
    victim, other = server.gateways[turn % 2], server.gateways[1 - turn % 2]
    if moment == "restore told":
        server.turn(server.get(session), "call it Second")
        saved(server, session, 2)
    go(server, session, moment, lambda: killed(server, victim, other))

    as_the_first(server, session, first)
    gapless(server, session)
    server.delete(session)
    until(lambda: server.running(session) == [])
    due(server, session)
    server.sweep()
    assert whole(server, session), archives(server, session)


def go(server: Rehearsal, session: dict[str, Any], moment: str, kill: Callable[[], None]) -> None:
    """Have it begin, and kill at the moment; on return it is done all the same."""
    path = f"/v1/sessions/{session['id']}"
    before = archives(server, session)
    if moment == "restore told":
        assert server.http.post(f"{path}/restore", json={"version": 1}).status_code == 200
        kill()
        until(lambda: "restored" in kinds(server, session), 60)
        return
    assert server.http.post(f"{path}/hibernate").status_code == 200
    if moment == "parts are uploaded":
        until(lambda: set(archives(server, session)) - set(before), pause=0.01)
    if moment in ("hibernation told", "parts are uploaded"):
        kill()
        until(lambda: server.get(session)["sandboxStatus"] == "hibernated", 60)
        return
    until(lambda: server.get(session)["sandboxStatus"] == "hibernated", 60)
    asked(server, session)
    if moment == "the sandbox unpacks":
        until(lambda: server.running(session), 30, pause=0.01)
    kill()


def killed(server: Rehearsal, victim: Any, other: Any) -> None:
    """SIGKILL it, as a machine that fails does; new calls go to the other one, until it is back."""
    server.lead(other)
    assert victim.stop(signal.SIGKILL) in (0, -signal.SIGKILL)
    victim.start()
    server.lead(*server.gateways)


def asked(server: Rehearsal, session: dict[str, Any]) -> None:
    """A visit of the preview."""
    with suppress(httpx2.HTTPError):
        server.preview(session, **{"Sec-Fetch-Dest": "document"})


def due(server: Rehearsal, session: dict[str, Any]) -> None:
    """What a minute does, after which the sweep looks once more at a session without a sandbox."""
    store = DynamoStore(server.outputs["TableName"], server.emulator.client("dynamodb"))
    ended = store.get(session["id"])
    assert ended is not None and ended.due_at is not None
    store.commit(ended, ended.model_copy(update={"due_at": ended.head.updated_at}))


def kinds(server: Rehearsal, session: dict[str, Any]) -> list[str]:
    path = f"/v1/sessions/{session['id']}/events/page"
    return [event["type"] for event in server.http.get(path, params={"limit": "500"}).json()["data"]]


def gapless(server: Rehearsal, session: dict[str, Any]) -> None:
    path = f"/v1/sessions/{session['id']}/events/page"
    told = server.http.get(path, params={"limit": "500"}).json()["data"]
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))


def archives(server: Rehearsal, session: dict[str, Any]) -> dict[str, set[str]]:
    """The names of the objects of each archive that is in the bucket."""
    pages = server.emulator.client("s3").get_paginator("list_objects_v2")
    prefix, found = f"sessions/{session['id']}/archives/", dict[str, set[str]]()
    for page in pages.paginate(Bucket=server.outputs["BucketName"], Prefix=prefix):
        for each in page.get("Contents", ()):
            archive, _, name = each["Key"].removeprefix(prefix).partition("/")
            found.setdefault(archive, set()).add(name)
    return found


def whole(server: Rehearsal, session: dict[str, Any]) -> bool:
    """Whether every archive is one, and there are no more than a session keeps."""
    found = archives(server, session)
    return len(found) <= 3 and all("manifest" in names for names in found.values())
