"""A task of the deployed gateway, as a process: told what the task definition tells it, under its role."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.server import REPO
from tests.e2e.target import until
from tests.rehearsal.deployment import Stack

PUBLIC, SANDBOX_SIDE, EGRESS = 8000, 8001, 8002
CONTAINER = "gateway"


def environment(stack: Stack) -> dict[str, str]:
    """The deployed task definition's own environment, and the credentials of its task role."""
    emulator, outputs = stack.emulator, stack.outputs
    ecs = emulator.client("ecs")
    cluster, name = outputs["ClusterName"], outputs["GatewayService"]
    [service] = ecs.describe_services(cluster=cluster, services=[name])["services"]
    asked = service["taskDefinition"]
    definition: dict[str, Any] = ecs.describe_task_definition(taskDefinition=asked)["taskDefinition"]
    [container] = [each for each in definition["containerDefinitions"] if each["name"] == CONTAINER]
    told = {each["name"]: each["value"] for each in container["environment"]}
    role = emulator.tell("/credentials", role=definition["taskRoleArn"], name=CONTAINER)
    places = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION")
    return {**told, **role} | {place: emulator.environment[place] for place in places}


class GatewayProcess:
    """`host` is its address, of its own. What a machine lacks beside AWS is in `instead`: where the model
    is, and the other gateways' addresses for the name that they share.
    """

    def __init__(self, host: str, told: Mapping[str, str], log: Path, **instead: str) -> None:
        self.host, self.log = host, log
        self.public = (host, PUBLIC)
        self.ports = {port: [host, port] for port in (SANDBOX_SIDE, EGRESS)}
        self._told = {**told, "BIND_HOST": host, "PATH": os.environ["PATH"], **instead}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab", buffering=0) as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "opensessions.aws.server"],
                cwd=REPO, env=self._told, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        until(self._is_up)

    def _is_up(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return httpx2.get(f"http://{self.host}:{PUBLIC}/healthz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    def stop(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(20)
