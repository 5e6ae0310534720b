"""Sandboxes as ECS tasks on Fargate: the runtime of the cloud."""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from opensessions.access import tokens
from opensessions.aws.endings import CONTAINER, GROUP, ending
from opensessions.aws.settings import Cluster
from opensessions.errors import LaunchFailed, NoCapacity
from opensessions.ports import Ended, Launch

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import RunTaskRequestTypeDef, TaskTypeDef

log = logging.getLogger(__name__)

LATELY = timedelta(minutes=5)
"""ECS lists a stopped task for an hour; whoever looks every minute need not hear of it sixty times."""

_PASSING = {
    "BlockedException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "ServerException",
    "ServiceUnavailableException",
    "ThrottlingException",
}
_WANTING = re.compile(r"^resource:|capacity|limit|quota|concurrently", re.IGNORECASE)
"""How ECS says that there is too little of something; all of it passes. What is denied "on resource: …" does
not.
"""
_ARN = re.compile(r"arn:\S+")
"""Names in it are the operator's, who may have called a stack `capacity`."""


class FargateSandboxes:
    """A SandboxRuntime. A task's `startedBy` is its sandbox and its `group` the launch, so that everything is
    found again without being written down: here, and in what ECS tells about the task.
    """

    def __init__(
        self, client: "ECSClient", place: Cluster, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client, self._place, self._clock = client, place, clock

    def launch(self, launch: Launch) -> None:
        try:
            answer = self._client.run_task(**_task(self._place, launch))
        except ClientError as error:
            raise _refusal(error.response["Error"]["Code"], error.response["Error"]["Message"]) from error
        except BotoCoreError as error:
            raise NoCapacity("The cloud did not answer when a sandbox was to be started.") from error
        if answer.get("failures") or not answer.get("tasks"):
            reasons = [failure.get("reason", "") for failure in answer.get("failures", [])]
            raise _refusal("", reasons[0] if reasons else "RESOURCE:UNKNOWN")

    def stop(self, sandbox_id: str) -> None:
        """Its worker is told at once, and killed when the task's stop timeout is over."""
        for task in self._tasks(startedBy=sandbox_id):
            try:
                self._client.stop_task(cluster=self._place.cluster, task=task, reason="Its session says so.")
            except ClientError as error:
                if "not found" not in error.response["Error"]["Message"]:
                    raise

    def alive(self, sandbox_id: str) -> bool:
        return next(self._tasks(startedBy=sandbox_id), None) is not None

    def running(self) -> Sequence[str]:
        return [task["startedBy"] for task in self._described("RUNNING") if task.get("startedBy")]

    def ended(self) -> Sequence[Ended]:
        since = self._clock() - LATELY
        lately = [t for t in self._described("STOPPED") if "stoppedAt" in t and t["stoppedAt"] > since]
        return [end for end in map(ending, lately) if end]

    def _described(self, status: str) -> "Iterator[TaskTypeDef]":
        """All tasks of the definition's family that are to be in this status."""
        family = self._place.task_definition.rsplit("/", 1)[-1].split(":")[0]
        tasks = list(self._tasks(status, family=family))
        for part in (tasks[n : n + 100] for n in range(0, len(tasks), 100)):
            yield from self._client.describe_tasks(cluster=self._place.cluster, tasks=part)["tasks"]

    def _tasks(self, status: str = "RUNNING", **which: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_tasks")
        for page in pages.paginate(cluster=self._place.cluster, desiredStatus=status, **which):  # type: ignore[arg-type]
            yield from page["taskArns"]


def _task(place: Cluster, launch: Launch) -> "RunTaskRequestTypeDef":
    told = {"SANDBOX_ID": launch.sandbox_id, "BOOT_TICKET": tokens.boot_ticket(launch.token)}
    environment: Any = [{"name": name, "value": value} for name, value in told.items()]
    return {
        "cluster": place.cluster,
        "taskDefinition": place.task_definition,
        "launchType": "FARGATE",
        "count": 1,
        "clientToken": f"{launch.sandbox_id.removeprefix('sb-')}-{launch.number}",
        "startedBy": launch.sandbox_id,
        "group": f"{GROUP}{launch.number}",
        "enableExecuteCommand": False,
        "overrides": {"containerOverrides": [{"name": CONTAINER, "environment": environment}]},
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(place.subnets),
                "securityGroups": [place.security_group],
                "assignPublicIp": "ENABLED" if place.public_ip else "DISABLED",
            }
        },
    }


def _refusal(code: str, message: str) -> LaunchFailed:
    """What ECS said, for the caller of the API, to whom account numbers and ARNs are nothing: they are
    logged.
    """
    log.error("RunTask was refused: %s %s", code, message)
    if code in _PASSING or _WANTING.search(_ARN.sub("", message)):
        return NoCapacity("There is no capacity for a sandbox at the moment.")
    return LaunchFailed("The sandbox could not be started; the operator's log says why.")
