"""Taking a deployment down: nothing may be left running, and no data may be lost."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from botocore.exceptions import ClientError

from infra.ops.account import Deployment, OperatorError
from infra.ops.choice import FOLDER

LAUNCHERS = ("functions.api.handler", "functions.task_state.handler")
"""The functions that start sandboxes."""

SETTLE = 10.0
"""Seconds in which a launch that was under way when launches were stopped has become a task."""

CDK = FOLDER / ".cache/cdk/node_modules/.bin/cdk"


def run(
    deployment: Deployment,
    context: Sequence[str],
    *,
    sure: bool,
    cdk: Path = CDK,
    settle: float = SETTLE,
    tell: Callable[[str], None] = print,
) -> int:
    """Say what goes and what stays, ask unless `sure`, stop launches and sandboxes, then `cdk destroy`. When
    that fails launches are allowed again. Raises OperatorError before anything was done.
    """
    cluster, family = deployment.output("ClusterName"), deployment.output("SandboxTaskDefinition")
    if not cdk.exists():
        raise OperatorError(f"{cdk} is missing: `make synth` installs it.")
    kept = deployment.kept()
    sandboxes = Sandboxes(deployment, cluster, family)
    _announce(deployment, len(list(sandboxes.running())), kept, tell)
    if not sure and _typed(f"Type the stack's name ({deployment.stack}) to go on: ") != deployment.stack:
        tell("Nothing was done.")
        return 1
    functions = deployment.functions()
    launchers = [functions[handler] for handler in LAUNCHERS if handler in functions]
    _hold(deployment, launchers)
    stopped = sandboxes.stop()
    time.sleep(settle)
    tell(f"{stopped + sandboxes.stop()} sandboxes were stopped.")
    status = _destroy(cdk, deployment.stack, context)
    if status:
        _release(deployment, launchers)
        print("cdk destroy failed, as said above; launches are allowed again.", file=sys.stderr)
    else:
        tell("What was kept costs as long as it is there; docs/deploy.md says how to delete it for good.")
    return status


class Sandboxes:
    """The tasks of a family in a cluster."""

    def __init__(self, deployment: Deployment, cluster: str, family: str) -> None:
        self._ecs, self._cluster, self._family = deployment.account.client("ecs"), cluster, family

    def running(self) -> Iterator[str]:
        pages = self._ecs.get_paginator("list_tasks")
        for page in pages.paginate(cluster=self._cluster, family=self._family, desiredStatus="RUNNING"):
            yield from page["taskArns"]

    def stop(self) -> int:
        """Stop all and wait until they are gone: a cluster with tasks cannot be deleted. Returns how many."""
        tasks = list(self.running())
        for task in tasks:
            self._ecs.stop_task(cluster=self._cluster, task=task, reason="The deployment is taken down.")
        gone = self._ecs.get_waiter("tasks_stopped")
        for part in (tasks[n : n + 100] for n in range(0, len(tasks), 100)):
            gone.wait(cluster=self._cluster, tasks=part, WaiterConfig={"Delay": 2, "MaxAttempts": 90})
        return len(tasks)


def _typed(question: str) -> str:
    try:
        return input(question)
    except EOFError:  # nobody is there to answer
        return ""


def _announce(
    deployment: Deployment, running: int, kept: Sequence[tuple[str, str]], tell: Callable[[str], None]
) -> None:
    where = f"{deployment.stack} in {deployment.account.region}"
    tell(f"This takes {where} down: its API, its previews, its logs, and {running} running sandboxes with")
    tell("all that is in their workspaces. Kept are:")
    for kind, name in kept:
        tell(f"  {kind}  {name}")


def _hold(deployment: Deployment, launchers: Sequence[str]) -> None:
    """No invocation of the functions that launch begins any more."""
    for name in launchers:
        deployment.account.client("lambda").put_function_concurrency(
            FunctionName=name, ReservedConcurrentExecutions=0
        )


def _release(deployment: Deployment, launchers: Sequence[str]) -> None:
    for name in launchers:
        try:
            deployment.account.client("lambda").delete_function_concurrency(FunctionName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise


def _destroy(cdk: Path, stack: str, context: Sequence[str]) -> int:
    words = [word for pair in context for word in ("-c", pair)]
    return subprocess.run([str(cdk), "destroy", stack, "--force", *words], cwd=FOLDER).returncode
