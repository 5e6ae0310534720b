"""What breaks between the parts, and what a caller sees of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.target import until
from tests.rehearsal.rehearsal import Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def as_it_was(server: Rehearsal) -> Iterator[None]:
    yield
    server.emulator.tell(
        "/knobs", capacity=0, quota=0, late=0, unpulled=0, lost_events=0, throttled=0, hurried=0
    )


def busy(server: Rehearsal) -> dict[str, Any]:
    """A session whose agent works, and will for long."""
    session = server.create("sleep 600")
    server.events(session, "assistant")
    return session


def losses(server: Rehearsal, session: dict[str, Any]) -> list[str]:
    """What was told of each sandbox that the session has lost."""
    return [event["message"] for event in gapless(server, session) if event["type"] == "sandbox_lost"]


def begun_anew(server: Rehearsal, session: dict[str, Any]) -> int:
    """The number of the launch by which a session that lost its sandbox within 10 s runs again."""
    told = server.events(session, "sandbox_lost", seconds=10)
    server.events(session, "turn_started", after=told[-1]["seq"])
    ecs, cluster = server.emulator.client("ecs"), server.outputs["ClusterName"]
    [arn] = ecs.list_tasks(cluster=cluster, startedBy=session["sandboxId"])["taskArns"]
    [task] = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
    return int(task["group"].removeprefix("launch:"))


def lost(server: Rehearsal, session: dict[str, Any], after: int, seconds: float = 10) -> dict[str, Any]:
    """What is said of a sandbox that was lost, within seconds."""
    return dict(server.events(session, "sandbox_lost", after, seconds)[-1])


def kill(server: Rehearsal, session: dict[str, Any]) -> None:
    server.emulator.tell("/kill", sandbox=session["sandboxId"])


def over(server: Rehearsal, session: dict[str, Any], seconds: float = 10) -> dict[str, Any]:
    """The error event of a session that fails in time, with nothing of it left."""
    until(lambda: server.get(session)["status"] == "error", seconds)
    until(lambda: server.running(session) == [])
    errors = [event for event in server.get(session)["events"] if event["type"] == "error"]
    return dict(errors[-1])


def gapless(server: Rehearsal, session: dict[str, Any]) -> list[dict[str, Any]]:
    """The session's events, each of which is there once."""
    told = server.http.get(f"/v1/sessions/{session['id']}/events/page", params={"limit": "500"}).json()[
        "data"
    ]
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    calls = [b["id"] for e in told if e["type"] == "assistant" for b in e["message"]["content"] if "id" in b]
    assert len(calls) == len(set(calls))
    return list(told)


def test_a_task_that_is_killed_at_work_comes_back(server: Rehearsal) -> None:
    session = server.create("run: echo once >> done.txt")
    server.turn(session)
    until(lambda: server.get(session)["version"] == 1)
    asked = server.send(session, "run: echo twice >> done.txt; cat done.txt; sleep 5")
    server.events(session, "assistant", asked["lastSeq"])
    kill(server, session)
    loss = lost(server, session, asked["lastSeq"])
    assert "status 137" in loss["message"] and "as they were after version 1" in loss["message"]
    again = server.events(session, "turn_complete", loss["seq"])
    assert again[-1]["reason"] == "completed" and "once\\ntwice" in json.dumps(again)
    gapless(server, session)
    server.delete(session)


def test_one_that_is_killed_while_it_idles_sleeps(server: Rehearsal) -> None:
    session = server.create("run: echo kept > note.txt")
    server.turn(session)
    until(lambda: server.get(session)["version"] == 1)
    kill(server, session)
    loss = lost(server, session, session["lastSeq"])
    assert "The session sleeps" in loss["message"]
    assert (now := server.get(session))["sandboxStatus"] == "hibernated" and now["status"] == "ready"
    until(lambda: server.running(session) == [])
    assert "kept" in json.dumps(server.turn(now, "run: cat note.txt"))
    server.delete(session)


def test_a_task_that_is_killed_and_nobody_says_so(server: Rehearsal) -> None:
    session = busy(server)
    server.emulator.tell("/knobs", lost_events=1)
    kill(server, session)
    until(lambda: server.running(session) == [])
    assert losses(server, session) == []
    server.sweep()
    [told] = losses(server, session)
    assert "status 137" in told
    begun_anew(server, session)
    server.delete(session)


def test_three_that_are_lost_in_a_row_are_an_error(server: Rehearsal) -> None:
    session, seen = server.create("sleep 600"), 0
    for comes_back in (True, True, False):
        seen = server.events(session, "assistant", seen)[-1]["seq"]
        kill(server, session)
        seen = lost(server, session, seen)["seq"] if comes_back else seen
    assert "lost 3 times in a row" in over(server, session)["message"]
    kinds = [event["type"] for event in gapless(server, session)]
    assert (kinds.count("sandbox_lost"), kinds.count("error")) == (2, 1)
    server.delete(session)
    assert server.running(session) == []


def test_a_task_that_can_never_start(server: Rehearsal) -> None:
    server.emulator.tell("/knobs", unpulled=1)
    session = server.create("say 3 words")
    assert over(server, session)["message"] == "Its image could not be fetched."
    kinds = [event["type"] for event in gapless(server, session)]
    assert kinds == ["session_started", "user_message", "error"]
    assert "completed" in json.dumps(server.turn(session, "say 3 words"))
    server.delete(session)


@pytest.mark.parametrize("knobs", [{"capacity": 3}, {"late": 2, "capacity": 1}], ids=["at once", "late"])
def test_there_is_no_capacity_three_times(server: Rehearsal, knobs: dict[str, int]) -> None:
    server.emulator.tell("/knobs", hurried=3, **knobs)
    session = server.create("say 3 words")
    server.turn(session, seconds=90)
    warnings = [event["message"] for event in gapless(server, session) if event["type"] == "error"]
    assert len(warnings) == 3 and all("tried again" in warning for warning in warnings), warnings
    server.delete(session)


def test_the_callback_is_throttled(server: Rehearsal) -> None:
    functions = server.emulator.client("lambda")
    name = server.outputs["CallbackFunction"]
    session = server.create()
    server.events(session, "turn_started")
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    try:
        refused = functions.invoke(FunctionName=name, InvocationType="DryRun")["StatusCode"]
        assert refused == 204
        seen = server.get(session)["lastSeq"]
        until(lambda: throttled(server, name))
    finally:
        functions.delete_function_concurrency(FunctionName=name)
    events = server.events(session, "turn_complete", after=seen)
    assert events[-1]["reason"] == "completed"
    kinds = [event["type"] for event in gapless(server, session)]
    for once in ("sandbox_ready", "configured", "ready", "turn_started", "result", "turn_complete"):
        assert kinds.count(once) == 1, kinds
    server.delete(session)


def throttled(server: Rehearsal, name: str) -> bool:
    functions = server.emulator.client("lambda")
    try:
        functions.invoke(FunctionName=name, Payload=b"{}")
    except functions.exceptions.TooManyRequestsException:
        return True
    return False


def test_changes_of_a_task_come_twice_and_out_of_order(server: Rehearsal) -> None:
    session = busy(server)
    kill(server, session)
    first, second = (change(server, session, launch) for launch in (1, begun_anew(server, session)))
    running = {**second, "detail": {**second["detail"], "lastStatus": "RUNNING", "version": 3}}
    for message in (first, running, first):
        server.queued(message)
    assert len(losses(server, session)) == 1 and server.running(session)
    for message in (second, running, second, first):
        server.queued(message)
    told = losses(server, session)
    assert ["status 137" in each for each in told] == [True, True]
    server.delete(session)
    assert server.dead_letters() == 0


def change(server: Rehearsal, session: dict[str, Any], launch: int) -> dict[str, Any]:
    """The event that ECS sends when the task of a launch was killed, as EventBridge wraps it."""
    cluster, arn = server.outputs["ClusterName"], "arn:aws:ecs:us-east-1:000000000000:"
    detail = {
        "clusterArn": f"{arn}cluster/{cluster}",
        "taskArn": f"{arn}task/{cluster}/{launch:032x}",
        "startedBy": session["sandboxId"],
        "group": f"launch:{launch}",
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "containers": [{"name": "sandbox", "exitCode": 137, "lastStatus": "STOPPED"}],
        "version": 6,
    }
    return {
        "version": "0",
        "id": "6f2e0d2a-0000-0000-0000-000000000000",
        "source": "aws.ecs",
        "detail-type": "ECS Task State Change",
        "account": "000000000000",
        "region": "us-east-1",
        "detail": detail,
    }


def test_the_table_throttles(server: Rehearsal) -> None:
    session = server.create()
    server.events(session, "turn_started")
    server.emulator.tell("/knobs", throttled=20)
    server.events(session, "turn_complete", after=session["lastSeq"])
    assert server.emulator.tell("/knobs")["throttled"] < 20
    kinds = [event["type"] for event in gapless(server, session)]
    assert kinds.count("turn_complete") == 1
    server.delete(session)
