import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from infra.ops import teardown
from infra.ops.account import Deployment, OperatorError
from tests.infra.ops.conftest import STACK, StubbedAccount

TASKS = [f"arn:aws:ecs:us-east-1:000000000000:task/c/{n}" for n in range(2)]
RESOURCES = [
    ("AWS::DynamoDB::GlobalTable", "Table", "sessions"),
    ("AWS::Lambda::Function", "Api", "fn-api"),
    ("AWS::Lambda::Function", "TaskState", "fn-task-state"),
    ("AWS::Lambda::Function", "Provider", "fn-provider"),
]
HANDLERS = {"fn-api": "functions.api", "fn-task-state": "functions.task_state", "fn-provider": "index"}


class Taking:
    """A deployment with two running sandboxes, and what the command said."""

    def __init__(self, account: StubbedAccount, tmp_path: Path, status: int = 0) -> None:
        self.deployment: Deployment = account.deployed(ClusterName="c", SandboxTaskDefinition="sandbox")
        self.account, self.said, self.called = account, list[str](), tmp_path / "called"
        self.cdk = tmp_path / "cdk"
        self.cdk.write_text(f'#!/bin/sh\necho "$@" >{shlex.quote(str(self.called))}\nexit {status}\n')
        self.cdk.chmod(0o755)
        resources = [_resource(*resource) for resource in RESOURCES]
        template = {"Resources": {"Table": {"Type": "x", "DeletionPolicy": "Retain"}, "Api": {"Type": "x"}}}
        cloudformation = account.stub("cloudformation")
        cloudformation.add_response("get_template", {"TemplateBody": json.dumps(template)})
        cloudformation.add_response("list_stack_resources", {"StackResourceSummaries": resources})
        self._listed(TASKS)

    def goes_on(self) -> None:
        """Put in the answers to what follows the consent."""
        stub = self.account.stub("lambda")
        resources = [_resource(*resource) for resource in RESOURCES]
        self.account.stub("cloudformation").add_response(
            "list_stack_resources", {"StackResourceSummaries": resources}
        )
        for name, handler in HANDLERS.items():
            stub.add_response(
                "get_function_configuration", {"Handler": f"{handler}.handler"}, {"FunctionName": name}
            )
        for name in ("fn-api", "fn-task-state"):
            held = {"FunctionName": name, "ReservedConcurrentExecutions": 0}
            stub.add_response("put_function_concurrency", {}, held)
        self._listed(TASKS)
        ecs = self.account.stub("ecs")
        for task in TASKS:
            ecs.add_response(
                "stop_task", {}, {"cluster": "c", "task": task, "reason": "The deployment is taken down."}
            )
        ecs.add_response("describe_tasks", {"tasks": [{"lastStatus": "STOPPED"} for _ in TASKS]})
        self._listed([])

    def run(self, sure: bool = True) -> int:
        return teardown.run(
            self.deployment, ["network=open"], sure=sure, cdk=self.cdk, settle=0, tell=self.said.append
        )

    def _listed(self, tasks: list[str]) -> None:
        asked = {"cluster": "c", "family": "sandbox", "desiredStatus": "RUNNING"}
        self.account.stub("ecs").add_response("list_tasks", {"taskArns": tasks}, asked)


def _resource(kind: str, logical: str, physical: str) -> dict[str, Any]:
    return {
        "ResourceType": kind,
        "LogicalResourceId": logical,
        "PhysicalResourceId": physical,
        "ResourceStatus": "CREATE_COMPLETE",
        "LastUpdatedTimestamp": "2026-11-24T00:00:00Z",
    }


def test_launches_stop_then_sandboxes_then_the_stack(account: StubbedAccount, tmp_path: Path) -> None:
    taking = Taking(account, tmp_path)
    taking.goes_on()
    assert taking.run() == 0
    assert taking.called.read_text() == f"destroy {STACK} --force -c network=open\n"
    said = "\n".join(taking.said)
    assert "2 running sandboxes" in said and "2 sandboxes were stopped" in said
    assert "AWS::DynamoDB::GlobalTable  sessions" in said and "Lambda" not in said


def test_without_consent_nothing_is_touched(
    account: StubbedAccount, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(account, tmp_path)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert taking.run(sure=False) == 1
    assert not taking.called.exists()


def test_a_destroy_that_fails_lets_sessions_start_again(account: StubbedAccount, tmp_path: Path) -> None:
    taking = Taking(account, tmp_path, status=3)
    taking.goes_on()
    stub = account.stub("lambda")
    stub.add_response("delete_function_concurrency", {}, {"FunctionName": "fn-api"})
    stub.add_client_error("delete_function_concurrency", "ResourceNotFoundException")
    assert taking.run() == 3


def test_the_cdk_is_looked_for_before_anything_is_stopped(account: StubbedAccount, tmp_path: Path) -> None:
    deployment = account.deployed(ClusterName="c", SandboxTaskDefinition="sandbox")
    with pytest.raises(OperatorError, match="make synth"):
        teardown.run(deployment, [], sure=True, cdk=tmp_path / "none")
