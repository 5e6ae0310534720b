"""The whole: the stack deployed to the emulator, two gateways, the demo model, and the front before it."""

import json
import secrets
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import psutil  # type: ignore[import-untyped]

from opensessions.aws.dynamodb import DynamoStore
from opensessions.local.demo_model.app import create_demo_model
from tests.e2e.target import Target, until
from tests.rehearsal.deployment import PREVIEWS, STACK, Deployment
from tests.rehearsal.emulator_process import Emulator
from tests.rehearsal.front import Front, streamed
from tests.rehearsal.gateway_process import GatewayProcess, environment
from tests.rehearsal.served import Served


class Rehearsal(Target):
    """A target for the end-to-end tests. Everything in it is as the template says, but for what a machine is
    not: gateways are processes with addresses of their own, and sandboxes walled ones.
    """

    def __init__(self, folder: Path, auth: bool = True) -> None:
        began = time.monotonic()
        self._folder = folder
        self.emulator = Emulator(folder / "emulator.log", auth)
        self.model = Served(create_demo_model())
        self.gateways: list[GatewayProcess] = []
        try:
            self.deployment = Deployment(self.emulator, folder)
            self._deploy()
            self.front_door = Front(self.emulator, self.deployment.outputs, streamed(self.emulator, STACK))
            self.url, self.front = self.front_door.url, self.front_door.address
            self.http = httpx2.Client(base_url=self.url, headers={"X-API-Key": self.key}, timeout=40)
            self._start_gateways()
        except BaseException:
            self.emulator.stop()
            self.model.close()
            raise
        self.deployment.times["all"] = round(time.monotonic() - began, 1)

    def _deploy(self) -> None:
        deployment = self.deployment
        deployment.bootstrap()
        deployment.deploy(deployment.synthesise(self._folder / "cdk.out"))
        self.key = deployment.operate("key", "--account", "rehearsal").strip()
        values = self.emulator.client("secretsmanager")
        values.put_secret_value(SecretId=deployment.outputs["ModelSecretName"], SecretString="sk-none")

    def _start_gateways(self) -> None:
        told, network = environment(self.deployment), f"127.{70 + secrets.randbelow(180)}.255"
        hosts = [f"{network}.{number}" for number in (1, 2)]
        for host in hosts:
            log = self._folder / f"gateway-{host}.log"
            instead = {"MODEL_URL": self.model.address, "PEERS": ",".join(hosts)}
            self.gateways.append(GatewayProcess(host, told, log, **instead))
        for gateway in self.gateways:
            gateway.start()
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
        name = self.deployment.outputs["SweepFunction"]
        answer = self.emulator.client("lambda").invoke(FunctionName=name)
        assert "FunctionError" not in answer, answer["Payload"].read()

    def running(self, session: dict[str, Any]) -> list[str]:
        """The tasks that run for a session, by ECS's own word and by the processes that there are."""
        cluster, sandbox = self.deployment.outputs["ClusterName"], session["sandboxId"]
        tasks = self.emulator.client("ecs").list_tasks(cluster=cluster, startedBy=sandbox)["taskArns"]
        here = [each["address"] for each in self.emulator.sandboxes() if each["sandbox"] == sandbox]
        return [*tasks, *here]

    def queued(self, message: dict[str, Any]) -> None:
        """Put a message on the tasks queue and wait until it has been read."""
        sqs, url = self.emulator.client("sqs"), self.deployment.outputs["TasksQueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(message))
        until(lambda: self._waiting(url) == 0)

    def dead_letters(self) -> int:
        sqs, url = self.emulator.client("sqs"), self.deployment.outputs["TasksQueueUrl"]
        policy = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
        name = json.loads(policy["RedrivePolicy"])["deadLetterTargetArn"].rsplit(":", 1)[-1]
        return self._waiting(sqs.get_queue_url(QueueName=name)["QueueUrl"])

    def _waiting(self, url: str) -> int:
        """Messages that wait or are being read."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs = self.emulator.client("sqs")
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)

    def is_due(self, session: dict[str, Any]) -> None:
        """Let the time of a session's next look be now, instead of waiting for it."""
        store = DynamoStore(self.deployment.outputs["TableName"], self.emulator.client("dynamodb"))
        found = store.get(session["id"])
        assert found is not None
        store.commit(found, found.model_copy(update={"due_at": datetime.now(UTC)}))

    def stop(self) -> None:
        """End it, and fail if anything goes on by itself."""
        self.http.close()
        family = psutil.Process(self.emulator.process.pid).children(recursive=True)
        codes = [gateway.stop(signal.SIGTERM) for gateway in self.gateways]
        self.front_door.close()
        self.emulator.stop()
        self.model.close()
        until(lambda: not [each for each in family if _runs(each)], 10)
        assert codes == [0] * len(codes), self.log()[-3000:]


def _runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
