"""A deployed stack with what stands before it on AWS."""

import json
from typing import Any

import httpx2

from opensessions.aws.keyring import DynamoKeyring
from tests.e2e.target import Target, until
from tests.fakes import open_account
from tests.rehearsal.deployment import Stack
from tests.rehearsal.front import Front, streamed


class System(Target):
    """A target for the end-to-end tests, once `front_door` is told where gateways are."""

    def __init__(self, stack: Stack, key: str) -> None:
        self.emulator, self.outputs, self.key = stack.emulator, stack.outputs, key
        self.told: set[str] = set()
        self.front_door = Front(stack.emulator, stack.outputs, streamed(stack.emulator, stack.name))
        self.url, self.front = self.front_door.url, self.front_door.address
        self.http = httpx2.Client(base_url=self.url, headers={"X-API-Key": key}, timeout=40)

    def preview_url(self, sandbox: str, port: int = 3000) -> str:
        return self.outputs.get("PreviewUrl", "").replace("{sandbox}", sandbox).replace("{port}", str(port))

    def log(self) -> str:
        return self.emulator.log.read_text(errors="replace")

    def key_of(self, account: str) -> str:
        keyring = DynamoKeyring(self.outputs["TableName"], self.emulator.client("dynamodb"))
        return open_account(keyring, account)

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

    def close(self) -> None:
        self.http.close()
        self.front_door.close()
        self.keep_secrets()
