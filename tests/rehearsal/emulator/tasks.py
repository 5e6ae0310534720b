"""ECS as Fargate behaves: it says how tasks change, takes a client token once, and stops them in order."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.rehearsal.emulator.knobs import SLOW_SECONDS, Knobs
from tests.rehearsal.emulator.symbols import get, wrap

Data = dict[str, Any]
Answer = Any

CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
UNPULLED = "CannotPullContainerError: pull image manifest has been retried 7 time(s): not found"
QUOTA = "You’ve reached the limit on the number of vCPUs you can run concurrently"  # noqa: RUF001
_NOT_FOR_TASKS = (
    "AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "ECS_CONTAINER_METADATA_URI_V4",
)  # fmt: skip


_ARN = "com.amazonaws.ecs.task-arn"


def install(knobs: Knobs, docker: object) -> None:
    """`docker` stands in for a Docker client and starts the containers of tasks."""
    wrap("services.ecs._get_docker")(lambda original: lambda: docker)
    for state in ("pending", "running", "stopped"):
        wrap(f"services.ecs._mark_task_{state}")(lambda original: _told(original, knobs))
    wrap("services.ecs._run_task")(lambda original: _run_task(original, knobs))
    wrap("services.ecs._start_task_worker")(lambda original: _start(original, knobs))
    wrap("services.ecs._stop_task")(_stop_task)
    wrap("services.ecs._requested_subnet")(_placed)
    wrap("services.ecs._build_run_kwargs")(_run_kwargs)


def _told(mark: Callable[..., bool], knobs: Knobs) -> Callable[..., bool]:
    """A change of state is published on the default bus; PutEvents refuses the source, as on AWS."""
    sanitize, put_events = get("services.ecs._sanitize"), get("services.eventbridge._put_events")

    def marked(arn: str, task: Data, *rest: Any, **more: Any) -> bool:
        if not mark(arn, task, *rest, **more):
            return False
        if task["lastStatus"] == "STOPPED" and knobs.take("lost_events"):
            return True
        detail = {key: value for key, value in sanitize(task).items() if value not in (None, "")}
        entry = {"Source": "aws.ecs", "DetailType": "ECS Task State Change", "Resources": [arn]}
        put_events({"Entries": [{**entry, "Detail": json.dumps(detail)}]}, allow_aws_source=True)
        return True

    return marked


def _run_task(original: Callable[[Data], Answer], knobs: Knobs) -> Callable[[Data], Answer]:
    refuse = get("core.responses.error_response_json")
    answers: dict[tuple[str, str], tuple[str, Answer]] = {}
    lock = threading.Lock()

    def run(data: Data) -> Answer:
        if data.get("group", "").startswith("service:"):
            return original(data)
        token, asked = data.get("clientToken", ""), json.dumps(data, sort_keys=True)
        with lock:
            key = (data.get("cluster", "default"), token)
            if token and key in answers:
                before, answer = answers[key]
                return answer if before == asked else refuse("ConflictException", _CONFLICT, 400)
            for knob, words in (("capacity", CAPACITY), ("quota", QUOTA)):
                if knobs.take(knob):
                    return refuse("ClientException", words, 400)
            answer = original(data)
            if token and answer[0] == 200:
                answers[key] = (asked, answer)
            return answer

    return run


def _start(original: Callable[..., None], knobs: Knobs) -> Callable[..., None]:
    def start(task: Data, *rest: Any) -> None:
        for knob, words in (("late", CAPACITY), ("unpulled", UNPULLED)):
            if knobs.take(knob):
                get("services.ecs._mark_task_stopped")(task["taskArn"], task, words, "TaskFailedToStart")
                return
        if knobs.take("slow"):
            time.sleep(SLOW_SECONDS)
        original(task, *rest)

    return start


_CONFLICT = "The RunTask request conflicts with another one that had the same client token."


def _stop_task(original: Callable[[Data], Answer]) -> Callable[[Data], Answer]:
    """Answers at once; the task is STOPPED, and says so, when its container is gone."""
    cluster_name, resolve = get("services.ecs._resolve_cluster_name"), get("services.ecs._resolve_task")
    sanitize, scope = get("services.ecs._sanitize"), get("core.responses.request_scope")
    where = get("core.responses.get_account_id"), get("core.responses.get_region")

    def stop(data: Data) -> Answer:
        task = resolve(data.get("task", ""), cluster_name(data.get("cluster", "default")))
        if not task or task["desiredStatus"] == "STOPPED" or task["lastStatus"] != "RUNNING":
            return original(data)
        task["desiredStatus"] = "STOPPED"
        account, region = (ask() for ask in where)
        answer = get("core.responses.json_response")({"task": sanitize(task)})
        threading.Thread(target=_finish, args=(task, data, scope(account, region)), daemon=True).start()
        return answer

    return stop


def _finish(task: Data, data: Data, scope: Any) -> None:
    with scope:
        get("services.ecs._cleanup_task_resources")(task, get("services.ecs._get_docker")())
        task["desiredStatus"] = "RUNNING"  # else the next step takes it for one that has stopped
        reason = data.get("reason", "Task stopped by user")
        get("services.ecs._mark_task_stopped")(task["taskArn"], task, reason, "UserInitiated", exit_code=0)


class Placement(str):
    """The subnet that a task is in, with what else was asked for."""

    groups: tuple[str, ...] = ()
    public_ip = False


def _placed(original: Callable[[Data], str | None]) -> Callable[[Data], str | None]:
    def placed(data: Data) -> str | None:
        if (subnet := original(data)) is None:
            return None
        asked, placement = data["networkConfiguration"]["awsvpcConfiguration"], Placement(subnet)
        placement.groups = tuple(asked.get("securityGroups") or ())
        placement.public_ip = asked.get("assignPublicIp") == "ENABLED"
        return placement

    return placed


def _run_kwargs(original: Callable[..., Data]) -> Callable[..., Data]:
    """A task without a role gets no credentials and no endpoint, and the host's architecture is right. The
    definition of the container, and the task's definition and place, come along.
    """

    def build(cdef: Data, td: Data, env: Data, *rest: Any) -> Data:
        if not td.get("taskRoleArn"):
            env = {name: value for name, value in env.items() if name not in _NOT_FOR_TASKS}
        kwargs = original(cdef, td, env, *rest)
        kwargs.pop("platform", None)
        place = get("services.ecs._tasks")[kwargs["labels"][_ARN]].get("_subnet")
        return {**kwargs, "definition": cdef, "task": td, "placement": place}

    return build
