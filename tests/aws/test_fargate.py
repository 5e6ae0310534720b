"""Sandboxes as ECS tasks: on moto, and on a client that answers as it is told to."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from opensessions.access import tokens
from opensessions.aws import settings
from opensessions.aws.fargate import FargateSandboxes
from opensessions.aws.settings import Cluster
from opensessions.errors import LaunchFailed, NoCapacity
from opensessions.ports import Ended, Launch
from tests.aws.account import placing

ACCOUNT = "123456789012"
PLACE = Cluster(
    "cluster", f"arn:aws:ecs:us-east-1:{ACCOUNT}:task-definition/sandbox:7", ("s1", "s2"), "sg", True
)


def launch(number: int = 1, digit: str = "a") -> Launch:
    sandbox_id = f"sb-{digit * 32}"
    return Launch(sandbox_id, number, tokens.worker_token(sandbox_id))


@pytest.fixture
def ecs() -> Any:
    return boto3.client(
        "ecs", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


@pytest.fixture
def told(ecs: Any) -> Iterator[Stubber]:
    with Stubber(ecs) as stubber:
        yield stubber


@mock_aws
def test_a_sandbox_is_launched_seen_and_stopped() -> None:
    client = partial(boto3.client, region_name="us-east-1")
    sandboxes = FargateSandboxes(
        client("ecs"), settings.cluster(placing(client, "os") | {"TASKS_QUEUE_URL": "q"})
    )
    one, other = launch(), launch(digit="b")
    for each in (one, other):
        assert not sandboxes.alive(each.sandbox_id)
        sandboxes.launch(each)
        assert sandboxes.alive(each.sandbox_id)
    assert sorted(sandboxes.running()) == [one.sandbox_id, other.sandbox_id]
    for _ in range(2):
        sandboxes.stop(one.sandbox_id)
        assert not sandboxes.alive(one.sandbox_id)
    assert list(sandboxes.running()) == [other.sandbox_id]
    sandboxes.stop(f"sb-{'0' * 32}")
    sandboxes.stop(other.sandbox_id)


def test_a_task_is_asked_for_once_and_knows_its_ticket_alone(ecs: Any, told: Stubber) -> None:
    asked = launch(number=3)
    ticket = {"name": "BOOT_TICKET", "value": tokens.boot_ticket(asked.token)}
    variables = [{"name": "SANDBOX_ID", "value": asked.sandbox_id}, ticket]
    expected: dict[str, Any] = {
        "cluster": "cluster",
        "taskDefinition": PLACE.task_definition,
        "launchType": "FARGATE",
        "count": 1,
        "clientToken": f"{'a' * 32}-3",
        "startedBy": asked.sandbox_id,
        "group": "launch:3",
        "enableExecuteCommand": False,
        "overrides": {"containerOverrides": [{"name": "sandbox", "environment": variables}]},
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["s1", "s2"],
                "securityGroups": ["sg"],
                "assignPublicIp": "ENABLED",
            }
        },
    }
    told.add_response("run_task", {"tasks": [{"taskArn": "arn"}], "failures": []}, expected)
    FargateSandboxes(ecs, PLACE).launch(asked)
    assert asked.token not in str(expected) and len(expected["clientToken"]) <= 64


ARN = f"arn:aws:ecs:us-east-1:{ACCOUNT}:cluster/c"


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("ThrottlingException", "Rate exceeded", NoCapacity),
        ("ServerException", "Service Unavailable. Please try again later.", NoCapacity),
        ("ClientException", "Capacity is unavailable at this time. Please try again later.", NoCapacity),
        (
            "ClientException",
            "You've reached the limit on the number of vCPUs you can run concurrently",
            NoCapacity,
        ),
        ("ClientException", "You've reached the limit on the number of tasks you can run", NoCapacity),
        (
            "AccessDeniedException",
            f"User: arn:aws:iam::{ACCOUNT}:role/r is not authorized on {ARN}",
            LaunchFailed,
        ),
        ("ClusterNotFoundException", f"Cluster {ARN} not found.", LaunchFailed),
        (
            "AccessDeniedException",
            f"User: arn:aws:sts::{ACCOUNT}:assumed-role/capacity-Api/f is not authorized to perform: "
            f"ecs:RunTask on resource: arn:aws:ecs:us-east-1:{ACCOUNT}:task-definition/capacity:1 "
            "because no identity-based policy allows the ecs:RunTask action",
            LaunchFailed,
        ),
        ("InvalidParameterException", "TaskDefinition is inactive", LaunchFailed),
    ],
)
def test_a_refusal_is_told_without_the_account(
    ecs: Any,
    told: Stubber,
    caplog: pytest.LogCaptureFixture,
    code: str,
    message: str,
    kind: type[LaunchFailed],
) -> None:
    told.add_client_error("run_task", code, message)
    with caplog.at_level(logging.ERROR), pytest.raises(LaunchFailed) as refused:
        FargateSandboxes(ecs, PLACE).launch(launch())
    assert type(refused.value) is kind
    assert ACCOUNT not in str(refused.value) and "arn:" not in str(refused.value)
    assert message in caplog.text and "osw_" not in caplog.text


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("RESOURCE:ENI", NoCapacity),
        ("RESOURCE:FARGATE", NoCapacity),
        ("Capacity is unavailable at this time", NoCapacity),
        ("AGENT", LaunchFailed),
        ("MISSING", LaunchFailed),
        (None, NoCapacity),
    ],
)
def test_failures_in_an_answer_are_refusals_too(
    ecs: Any, told: Stubber, reason: str | None, kind: type[LaunchFailed]
) -> None:
    failures = [{"arn": ARN, "reason": reason}] if reason else []
    told.add_response("run_task", {"tasks": [], "failures": failures})
    with pytest.raises(LaunchFailed) as refused:
        FargateSandboxes(ecs, PLACE).launch(launch())
    assert type(refused.value) is kind and ACCOUNT not in str(refused.value)


def test_silence_is_want_of_capacity(ecs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(**_: Any) -> None:
        raise ConnectTimeoutError(endpoint_url="https://ecs")

    monkeypatch.setattr(ecs, "run_task", silent)
    with pytest.raises(NoCapacity):
        FargateSandboxes(ecs, PLACE).launch(launch())


def test_all_that_run_are_found_however_many(ecs: Any, told: Stubber) -> None:
    arns = [f"{ARN}/{n}" for n in range(250)]
    of_family = {"cluster": "cluster", "desiredStatus": "RUNNING", "family": "sandbox"}
    for start in (0, 100, 200):
        page: dict[str, Any] = {"taskArns": arns[start : start + 100]}
        page |= {"nextToken": str(start + 100)} if start < 200 else {}
        asked = {**of_family, **({"nextToken": str(start)} if start else {})}
        told.add_response("list_tasks", page, asked)
    for start in (0, 100, 200):
        part = arns[start : start + 100]
        tasks = [{"taskArn": arn, "startedBy": f"sb-{arn[-3:]}"} for arn in part]
        told.add_response("describe_tasks", {"tasks": tasks}, {"cluster": "cluster", "tasks": part})
    assert len(FargateSandboxes(ecs, PLACE).running()) == 250


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_what_ended_lately_is_told_with_its_reason(ecs: Any, told: Stubber) -> None:
    ours: dict[str, Any] = {
        "taskArn": ARN,
        "startedBy": f"sb-{'a' * 32}",
        "group": "launch:3",
        "lastStatus": "STOPPED",
    }
    ours |= {"stopCode": "EssentialContainerExited", "containers": [{"name": "sandbox", "exitCode": 137}]}
    lately, before = NOW - timedelta(minutes=4), NOW - timedelta(minutes=6)
    tasks = [
        {**ours, "stoppedAt": lately},
        {**ours, "stoppedAt": before},
        {**ours, "lastStatus": "DEPROVISIONING"},
        {**ours, "stoppedAt": lately, "startedBy": "ecs-svc/8374652819"},
        {**ours, "stoppedAt": lately, "group": "service:gateway"},
    ]
    of_family = {"cluster": "cluster", "desiredStatus": "STOPPED", "family": "sandbox"}
    told.add_response("list_tasks", {"taskArns": [ARN] * len(tasks)}, of_family)
    told.add_response("describe_tasks", {"tasks": tasks}, {"cluster": "cluster", "tasks": [ARN] * len(tasks)})
    ended = FargateSandboxes(ecs, PLACE, clock=lambda: NOW).ended()
    assert ended == [Ended(f"sb-{'a' * 32}", 3, "Its worker ended with status 137.")]


def test_a_task_that_is_gone_is_stopped(ecs: Any, told: Stubber) -> None:
    told.add_response("list_tasks", {"taskArns": [ARN]})
    told.add_client_error("stop_task", "InvalidParameterException", "The referenced task was not found.")
    FargateSandboxes(ecs, PLACE).stop(f"sb-{'a' * 32}")
