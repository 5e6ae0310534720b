"""IAM as it judges ECS: RunTask on the task definition and within a cluster, with what it passes on."""

import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from tests.rehearsal.emulator.symbols import get, wrap

_asked: ContextVar[dict[str, Any]] = ContextVar("asked")
_denied: ContextVar[str] = ContextVar("denied", default="")


def install() -> None:
    wrap("core.iam_actions.extract_resource_arn")(_resource)
    wrap("core.iam_actions.request_tag_context")(_context)
    wrap("core.iam_evaluator.enforce")(_enforce)
    wrap("core.iam_actions.access_denied_response")(_response)
    # The CDK's buckets refuse plain HTTP; the way over the loopback counts as safe.
    wrap("app.pin_request_origin")(lambda pin: lambda address, secure: pin(address, True))


def _resource(original: Callable[..., str]) -> Callable[..., str]:
    def resource(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> str:
        _denied.set("")
        if service != "ecs":
            return original(service, method, path, headers, body, *rest)
        region, account = rest[-2:]
        action = (headers.get("x-amz-target") or "").rsplit(".", 1)[-1]
        data = json.loads(body or b"{}")
        _asked.set(data)
        root = f"arn:aws:ecs:{region}:{account}:"
        if action == "RunTask":
            arn: str = _definition(data)["taskDefinitionArn"]
            return arn or f"{root}task-definition/{data['taskDefinition']}"
        if action in ("StopTask", "DescribeTasks"):
            named = data.get("task") or (data.get("tasks") or ["*"])[0]
            cluster = data.get("cluster", "default").rsplit("/", 1)[-1]
            return str(named) if named.startswith("arn:") else f"{root}task/{cluster}/{named}"
        if action == "ListTasks":
            return "*"
        return original(service, method, path, headers, body, *rest)

    return resource


def _context(original: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def context(service: str, action: str, body: bytes, params: Any) -> dict[str, Any]:
        found = original(service, action, body, params)
        if service == "ecs" and (cluster := _asked.get({}).get("cluster")):
            if not cluster.startswith("arn:"):
                where = get("core.responses.get_region")(), get("core.responses.get_account_id")()
                cluster = "arn:aws:ecs:{}:{}:cluster/".format(*where) + cluster
            found["ecs:cluster"] = cluster
        return found

    return context


def _enforce(original: Callable[..., Any]) -> Callable[..., Any]:
    """RunTask also passes the roles of the task definition on, and may tag."""

    def enforce(key: str, action: str, service: str, region: str, **more: Any) -> Any:
        denied = original(key, action, service, region, **more)
        if denied or action != "ecs:RunTask":
            return denied
        definition = _definition(_asked.get())
        passed = {str(definition.get(name) or "") for name in ("executionRoleArn", "taskRoleArn")} - {""}
        to = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
        checks = [("iam:PassRole", arn, to) for arn in sorted(passed)]
        if _asked.get().get("tags") or _asked.get().get("propagateTags"):
            root = more["resource_arn"].split(":task-definition/")[0]
            checks.append(("ecs:TagResource", f"{root}:task/*", {"ecs:CreateAction": "RunTask"}))
        for also, arn, context in checks:
            kind = also.partition(":")[0]
            if denied := original(key, also, kind, region, resource_arn=arn, service_context=context):
                _denied.set(also)
                return denied
        return None

    return enforce


def _response(original: Callable[..., Any]) -> Callable[..., Any]:
    """Names the action that was really missing."""

    def response(service: str, action: str, *rest: Any, **more: Any) -> Any:
        return original(service, _denied.get() or action, *rest, **more)

    return response


def credentials(role: str, name: str) -> dict[str, str]:
    """The variables for a process that runs as a role."""
    arn = f"arn:aws:lambda:us-east-1:{role.split(':')[4]}:function:{name}"
    config = {"FunctionArn": arn, "Role": role, "FunctionName": name}
    found: dict[str, str] = get("core.lambda_runtime.execution_credentials")(config)
    return found


def _definition(data: dict[str, Any]) -> dict[str, Any]:
    status, _, body = get("services.ecs._describe_task_definition")(
        {"taskDefinition": data["taskDefinition"]}
    )
    found = json.loads(body)["taskDefinition"] if status == 200 else {"taskDefinitionArn": ""}
    return dict(found)
