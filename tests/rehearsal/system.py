"""A deployed stack with what it lacks on this machine: gateways, and the front before it."""

import json
import secrets
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.target import Target, until
from tests.rehearsal.deployment import PREVIEWS, Stack
from tests.rehearsal.front import Front, streamed
from tests.rehearsal.gateway_process import GatewayProcess, environment


class System(Target):
    """A target for the end-to-end tests. Everything in it is as the template says, but for what a machine is
    not: gateways are processes with addresses of their own, and sandboxes walled ones. Logs go to `folder`;
    `model` is where the model is.
    """

    def __init__(self, stack: Stack, key: str, model: str, folder: Path, gateways: int = 2) -> None:
        self.emulator, self.outputs, self.key = stack.emulator, stack.outputs, key
        self.front_door = Front(stack.emulator, stack.outputs, streamed(stack.emulator, stack.name))
        self.url, self.front = self.front_door.url, self.front_door.address
        self.http = httpx2.Client(base_url=self.url, headers={"X-API-Key": key}, timeout=40)
        told, network = environment(stack), f"127.{70 + secrets.randbelow(180)}.255"
        hosts = [f"{network}.{number + 1}" for number in range(gateways)]
        instead = {"MODEL_URL": model, "PEERS": ",".join(hosts)}
        self.gateways = [
            GatewayProcess(host, told, folder / f"gateway-{host}.log", **instead) for host in hosts
        ]
        try:
            for gateway in self.gateways:
                gateway.start()
        except BaseException:
            self.close()
            raise
        self.lead(*self.gateways)

    def lead(self, *gateways: GatewayProcess) -> None:
        """From now on visitors and sandboxes are led to these."""
        self.front_door.gateways = [each.public for each in gateways]
        self.emulator.tell("/gateways", gateways=[each.ports for each in gateways])

    def preview_url(self, sandbox: str, port: int = 3000) -> str:
        return f"https://{sandbox}-p{port}.{PREVIEWS}"

    def log(self) -> str:
        files = [self.emulator.log, *(each.log for each in self.gateways)]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def sweep(self) -> None:
        """What the schedule does every minute."""
        name = self.outputs["SweepFunction"]
        answer = self.emulator.client("lambda").invoke(FunctionName=name)
        assert "FunctionError" not in answer, answer["Payload"].read()

    def running(self, session: dict[str, Any]) -> list[str]:
        """The tasks that run for a session, by ECS's own word and by the processes that there are."""
        cluster, sandbox = self.outputs["ClusterName"], session["sandboxId"]
        tasks = self.emulator.client("ecs").list_tasks(cluster=cluster, startedBy=sandbox)["taskArns"]
        here = [each["address"] for each in self.emulator.sandboxes() if each["sandbox"] == sandbox]
        return [*tasks, *here]

    def queued(self, message: dict[str, Any]) -> None:
        """Put a message on the tasks queue and wait until it has been read."""
        sqs, url = self.emulator.client("sqs"), self.outputs["TasksQueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(message))
        until(lambda: self._waiting(url) == 0)

    def dead_letters(self) -> int:
        sqs, url = self.emulator.client("sqs"), self.outputs["TasksQueueUrl"]
        policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
        name = json.loads(policy["RedrivePolicy"])["deadLetterTargetArn"].rsplit(":", 1)[-1]
        return self._waiting(sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def _waiting(self, url: str) -> int:
        """Messages that wait or are being read."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs = self.emulator.client("sqs")
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def close(self) -> list[int]:
        """End the gateways, and return with which status each did."""
        self.http.close()
        codes = [gateway.stop() for gateway in self.gateways if gateway.process]
        self.front_door.close()
        return codes
