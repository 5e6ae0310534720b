"""An account of AWS for one test module: moto, with what the stack makes in it, and the functions as
processes, from a folder like their bundle.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import boto3
from moto.moto_api import state_manager
from moto.server import ThreadedMotoServer

from opensessions.aws.dynamodb import DynamoStore
from opensessions.aws.keyring import DynamoKeyring
from opensessions.aws.table import create_table
from opensessions.ports import SessionStore
from tests.aws.cloud import CREDENTIALS, REPOSITORY

PROMPT = "Build a todo app for Ms Canary-of-the-prompt"
SECRETS = re.compile(r"os[bw]_[0-9a-zA-Z_]{8,}|Canary-of-the-prompt|canary-of-a-query")
"""What may be in no log."""

_RUN = """
import importlib, json, os, sys
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
module = importlib.import_module("functions." + os.environ["POWERTOOLS_SERVICE_NAME"])
class Context:
    function_name, memory_limit_in_mb, aws_request_id = "f", 512, "request"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
with os.fdopen(int(sys.argv[1]), "w") as answers:
    for event in sys.stdin:
        try:
            answer = {"answer": module.handler(json.loads(event), Context())}
        except Exception as error:
            answer = {"error": repr(error)}
        print(json.dumps(answer), file=answers, flush=True)
"""


class FunctionFailed(Exception): ...


class Function:
    """One function's process. Calls are one after the other, as they are for one of Lambda's."""

    def __init__(self, name: str, bundle: Path, environment: dict[str, str]) -> None:
        reading, writing = os.pipe()
        self.log = bundle.parent / f"{name}-{uuid.uuid4()}.log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-u", "-c", _RUN, str(writing)],
                env={**environment, "POWERTOOLS_SERVICE_NAME": name, "LAMBDA_TASK_ROOT": str(bundle)},
                cwd=bundle.parent, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
                pass_fds=[writing],
            )  # fmt: skip
        os.close(writing)
        self._answers = os.fdopen(reading)

    def __call__(self, event: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(event) + "\n")
        self._process.stdin.flush()
        line = self._answers.readline()
        if not line:
            raise FunctionFailed(self.log.read_text())
        answer = json.loads(line)
        if "error" in answer:
            raise FunctionFailed(answer["error"])
        return answer["answer"]

    def lines(self) -> list[dict[str, Any]]:
        """What it logged, and its metrics."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._answers.close()


class Front(ThreadingHTTPServer):
    """Stands before moto's ECS, and answers as it is told to for a while: a status and a body each."""

    daemon_threads = True

    def __init__(self, moto: str) -> None:
        super().__init__(("127.0.0.1", 0), _Fronted)
        self.moto = moto
        self.runs: list[dict[str, Any]] = []
        self.answers: list[tuple[int, dict[str, Any]]] = []
        self.open = build_opener(ProxyHandler({})).open


class _Fronted(BaseHTTPRequestHandler):
    server: Front

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["X-Amz-Target"].endswith(".RunTask"):
            self.server.runs.append(json.loads(body))
            if self.server.answers:
                status, answer = self.server.answers.pop(0)
                return self._answer(status, json.dumps(answer).encode())
        handed_on = Request(self.server.moto, body, dict(self.headers.items()))
        with self.server.open(handed_on, timeout=30) as answered:
            self._answer(answered.status, answered.read())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@dataclass
class Account:
    folder: Path
    endpoint: str
    front: Front
    environment: dict[str, str]
    store: SessionStore
    keyring: DynamoKeyring
    functions: list[Function] = field(default_factory=list)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def function(self, name: str, **more: str) -> Function:
        """Started anew; `more` on top of its environment."""
        made = Function(name, self.folder / "bundle", {**self.environment, **more})
        self.functions.append(made)
        return made

    def tasks(self, sandbox_id: str) -> list[dict[str, Any]]:
        """As they run for a sandbox."""
        ecs, cluster = self.client("ecs"), self.environment["CLUSTER"]
        found = ecs.list_tasks(cluster=cluster, startedBy=sandbox_id, desiredStatus="RUNNING")["taskArns"]
        return ecs.describe_tasks(cluster=cluster, tasks=found)["tasks"] if found else []

    def close(self) -> None:
        for function in self.functions:
            function.close()
            said = function.log.read_text()
            assert not SECRETS.findall(said), said


@contextmanager
def account(folder: Path) -> Iterator[Account]:
    """Closing it looks through all logs for secrets."""
    with ExitStack() as stack:
        moto = ThreadedMotoServer(port=0, verbose=False)
        moto.start()
        stack.callback(moto.stop)
        endpoint = f"http://127.0.0.1:{moto.get_host_and_port()[1]}"
        front = Front(endpoint)
        serving = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        stack.callback(serving.join)
        stack.callback(front.server_close)
        stack.callback(front.shutdown)
        made = Account(folder, endpoint, front, {}, None, None)  # type: ignore[arg-type]
        _furnish(made)
        stack.callback(made.close)
        yield made


def _furnish(account: Account) -> None:
    name = f"os-{uuid.uuid4()}"
    tables = account.client("dynamodb")
    create_table(tables, name)
    account.store, account.keyring = DynamoStore(name, tables), DynamoKeyring(name, tables)
    account.client("s3").create_bucket(Bucket=name)
    account.environment |= {
        "PATH": os.environ["PATH"],
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": account.endpoint,
        "AWS_ENDPOINT_URL_ECS": f"http://127.0.0.1:{account.front.server_port}",
        "TABLE_NAME": name,
        "BUCKET_NAME": name,
        "PREVIEW_URL": "https://{sandbox}-p{port}.preview.test",
        "TASKS_QUEUE_URL": account.client("sqs").create_queue(QueueName=name)["QueueUrl"],
        "DELIVERIES_QUEUE_URL": account.client("sqs").create_queue(QueueName=f"{name}-d")["QueueUrl"],
        "QUOTA_LIVE": "50",
        **placing(account.client, name),
    }
    for package in ("functions", "opensessions"):
        ignored = shutil.ignore_patterns("__pycache__", "local")
        shutil.copytree(REPOSITORY / package, account.folder / "bundle" / package, ignore=ignored)


def placing(client: Callable[[str], Any], name: str) -> dict[str, str]:
    """A network, a cluster and a task definition, as the launching functions are told of them."""
    ec2, ecs = client("ec2"), client("ecs")
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 10**6})
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/20")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(VpcId=vpc, GroupName=name, Description="sandboxes")["GroupId"]
    ecs.create_cluster(clusterName=name)
    definition = ecs.register_task_definition(
        family=name,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="1024",
        memory="2048",
        containerDefinitions=[{"name": "sandbox", "image": "sandbox", "memory": 2048}],
    )
    return {
        "CLUSTER": name,
        "SANDBOX_TASK_DEFINITION": definition["taskDefinition"]["taskDefinitionArn"],
        "SANDBOX_SUBNETS": subnet,
        "SANDBOX_SECURITY_GROUP": group,
        "SANDBOX_PUBLIC_IP": "DISABLED",
    }
