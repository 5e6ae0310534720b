"""Messages of the tasks queue, acted on: one at a time."""

import json
from typing import Any

import pytest

from opensessions.aws import endings, tasks
from opensessions.models import SandboxStatus, Status
from opensessions.sessions.supervisor import PATIENCE
from tests.aws.events import stopped
from tests.fakes import World


def test_a_task_that_stopped_is_lost_once(here: World) -> None:
    session = here.create()
    for _ in range(3):
        tasks.act(stopped(session), here.supervisor)
    [lost] = [event for event in here.store.events(session.id, 0, 99) if event.type == "sandbox_lost"]
    assert "Its worker ended with status 1." in str(lost.payload)
    assert here.put_off == [(session.sandbox_id, session.launch + 1, 0)]
    assert here.runtime.live == {}


@pytest.mark.parametrize(
    "detail",
    [
        {"lastStatus": "RUNNING"},
        {"lastStatus": "DEPROVISIONING"},
        {"lastStatus": None},
        {"startedBy": None},
        {"startedBy": "ecs-svc/8374652819"},
        {"startedBy": f"sb-{'0' * 32}"},
        {"group": None},
        {"group": "service:gateway"},
        {"group": "launch:"},
        {"group": "launch:0"},
        {"group": "launch:²"},
        {"group": "family:sandbox"},
    ],
    ids=str,
)
def test_what_is_no_end_of_this_launch_changes_nothing(here: World, detail: dict[str, Any]) -> None:
    session = here.create()
    tasks.act(stopped(session, **detail), here.supervisor)
    assert here.now(session) == session


def test_the_end_of_an_earlier_launch_comes_too_late(here: World) -> None:
    first = here.create()
    tasks.act(stopped(first), here.supervisor)
    here.supervisor.relaunch(*here.put_off.pop()[:2])
    second = here.now(first)
    tasks.act(stopped(first), here.supervisor)
    assert here.now(second) == second
    assert list(here.runtime.live) == [second.sandbox_id]


def test_a_launch_is_tried_again_as_often_as_patience_says(here: World) -> None:
    here.runtime.lack = len(PATIENCE)
    session = here.create()
    for _ in PATIENCE:
        sandbox_id, launch, _seconds = here.put_off[-1]
        put_off = {"sandbox_id": sandbox_id, "launch": launch}
        tasks.act(json.dumps({"relaunch": put_off}), here.supervisor)
    assert list(here.runtime.live) == [session.sandbox_id]
    assert [seconds for *_, seconds in here.put_off] == list(PATIENCE)


LACK = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
ROOM = "InsufficientFreeAddressesInSubnet: subnet-1 has no free addresses"
SLOW = "Timeout waiting for network interface provisioning to complete."
PULL = "CannotPullContainerError: pull image manifest has been retried 5 time(s): 1234.dkr.ecr: not found"


@pytest.mark.parametrize("said", [LACK, ROOM, SLOW], ids=["capacity", "addresses", "interfaces"])
def test_a_task_that_stops_for_want_of_capacity_is_tried_again(here: World, said: str) -> None:
    session = here.create()
    for _ in range(2):
        tasks.act(stopped(session, stopCode="TaskFailedToStart", stoppedReason=said), here.supervisor)
    assert here.put_off == [(session.sandbox_id, 1, PATIENCE[0])]
    warning = here.store.latest_events(session.id, 1)[0]
    assert (warning.level, warning.payload["code"]) == ("warning", "no_capacity")
    assert here.now(session).head.status is Status.RUNNING


REFUSED = [
    {"stoppedReason": PULL.replace("ecr", "ecr/capacity")},
    {"containers": [{"name": "sandbox", "reason": PULL}]},
    {"stoppedReason": "ResourceInitializationError: unable to pull secrets or registry auth"},
    {"stoppedReason": "CannotStartContainerError: OCI runtime create failed"},
]


@pytest.mark.parametrize("detail", REFUSED, ids=["image", "of the container", "secrets", "runtime"])
def test_a_task_that_can_never_start_is_an_error_at_once(here: World, detail: dict[str, Any]) -> None:
    session = here.create()
    for _ in range(2):
        tasks.act(stopped(session, stopCode="TaskFailedToStart", **detail), here.supervisor)
    now, [last] = here.now(session), here.store.latest_events(session.id, 1)
    assert (now.head.status, now.head.sandbox_status) == (Status.ERROR, SandboxStatus.STOPPED)
    assert (last.type, last.payload["code"]) == ("error", "launch_failed")
    assert last.payload["message"] == endings.reason({"stopCode": "TaskFailedToStart", **detail})
    assert (here.put_off, "sandbox_lost" in here.types(session)) == ([], False)


@pytest.mark.parametrize(
    "detail",
    [
        {"stopCode": "EssentialContainerExited", "stoppedReason": LACK},
        {"stopCode": "TaskFailedToStart"},
    ],
    ids=["ran", "nothing said"],
)
def test_what_is_no_want_of_capacity_is_not_taken_for_it(here: World, detail: dict[str, Any]) -> None:
    session = here.create()
    tasks.act(stopped(session, **detail), here.supervisor)
    assert here.now(session).lacked == () and "sandbox_lost" in here.types(session)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[]",
        "7",
        "{}",
        '{"relaunch": null}',
        '{"relaunch": {"sandbox_id": "sb-1", "launch": 1}}',
        '{"detail-type": "EC2 Instance State-change Notification", "detail": {}}',
        '{"detail-type": "ECS Task State Change"}',
    ],
)
def test_what_is_neither_is_refused(here: World, body: str) -> None:
    with pytest.raises(ValueError):
        tasks.act(body, here.supervisor)


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ({"containers": [{"name": "sandbox", "exitCode": 3}]}, "Its worker ended with status 3."),
        (
            {
                "containers": [
                    {"name": "sandbox", "exitCode": 137, "reason": "OutOfMemoryError: Container killed"}
                ]
            },
            "It ran out of its memory.",
        ),
        ({"containers": [{"name": "other", "exitCode": 9}]}, "It ended."),
        ({}, "It ended."),
        ({"stopCode": "TaskFailedToStart", "stoppedReason": PULL}, "Its image could not be fetched."),
        (
            {"stopCode": "TaskFailedToStart", "stoppedReason": ROOM},
            "The cloud had no network address for it.",
        ),
        (
            {"stopCode": "TaskFailedToStart", "stoppedReason": "Capacity is unavailable at this time."},
            "The cloud had no capacity for it.",
        ),
        ({"stopCode": "TaskFailedToStart"}, "It could not be started; the operator's log says why."),
        ({"stopCode": "UserInitiated"}, "It was stopped from outside."),
        ({"stopCode": "SpotInterruption"}, "The cloud took its machine back."),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_why_it_stopped_is_said_in_words(detail: dict[str, Any], reason: str) -> None:
    assert endings.reason({"stopCode": "EssentialContainerExited", **detail}) == reason
