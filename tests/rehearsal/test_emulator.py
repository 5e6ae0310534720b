"""What our launcher adds to ministack, asked for as the system will ask for it."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.server import REPO, until
from tests.rehearsal.emulator_process import PYTHON, Emulator

pytestmark = pytest.mark.rehearsal

TRUST = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
GATEWAY = "http://gateway.opensessions.internal"
STATIC = {"GATEWAY_URL": f"{GATEWAY}:8001", "EGRESS_URL": f"{GATEWAY}:8002", "DOOR_PORT": "7070"}


class Gateway:
    """Says 503 to every sandbox, and remembers who came."""

    def __init__(self) -> None:
        self.visits: list[tuple[str, str, str]] = []
        visits = self.visits

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                visits.append((self.client_address[0], self.path, self.headers["Authorization"]))
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.ports = {port: ["127.0.0.1", self._server.server_port] for port in (8001, 8002)}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    running = Emulator(tmp_path_factory.mktemp("emulator") / "log")
    role = running.client("iam").create_role(RoleName="execution", AssumeRolePolicyDocument=_document(TRUST))[
        "Role"
    ]["Arn"]
    ecs = running.client("ecs")
    ecs.create_cluster(clusterName="cluster")
    environment = [{"name": name, "value": value} for name, value in STATIC.items()]
    ecs.register_task_definition(
        family="sandbox", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        executionRoleArn=role,
        containerDefinitions=[{"name": "sandbox", "image": "sandbox", "environment": environment}],
    )  # fmt: skip
    yield running
    running.stop()


@pytest.fixture
def gateways(emulator: Emulator) -> Iterator[list[Gateway]]:
    both = [Gateway(), Gateway()]
    emulator.tell("/gateways", gateways=[each.ports for each in both])
    yield both
    for each in both:
        each.close()


def _document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def run(ecs: Any, sandbox: str, token: str | None = None) -> str:
    told = [{"name": "SANDBOX_ID", "value": sandbox}, {"name": "BOOT_TICKET", "value": f"ticket-{sandbox}"}]
    answer = ecs.run_task(
        cluster="cluster", taskDefinition="sandbox", launchType="FARGATE", clientToken=token or sandbox,
        startedBy=sandbox, group="launch:1",
        overrides={"containerOverrides": [{"name": "sandbox", "environment": told}]},
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
    )  # fmt: skip
    return str(answer["tasks"][0]["taskArn"])


def queue(emulator: Emulator) -> Any:
    """A function that takes the state changes told since, as (status, stop code, exit code)."""
    sqs, events = emulator.client("sqs"), emulator.client("events")
    url = sqs.create_queue(QueueName="changes")["QueueUrl"]
    pattern = {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"]}
    events.put_rule(Name="changes", EventPattern=json.dumps(pattern))
    arn = "arn:aws:sqs:us-east-1:000000000000:changes"
    events.put_targets(Rule="changes", Targets=[{"Id": "1", "Arn": arn}])
    sqs.purge_queue(QueueUrl=url)

    def taken() -> list[dict[str, Any]]:
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"])["detail"] for message in messages]

    return taken


def test_every_symbol_that_is_patched_exists() -> None:
    asked = """
import sys; sys.path.append(sys.argv[1])
from tests.rehearsal.emulator import symbols
print(symbols.missing()); print(symbols.missing(("services.ecs._nothing", "app.main")))
"""
    answer = subprocess.run([PYTHON, "-I", "-c", asked, REPO], capture_output=True, text=True, check=True)
    none, one = answer.stdout.split("\n")[:2]
    assert none == ""
    assert "ministack==1.5.33" in one and one.endswith("there is no services.ecs._nothing.")
    assert "ministack==1.5.33" in (REPO / "requirements" / "rehearsal.txt").read_text()


def test_a_task_boots_from_its_own_address(emulator: Emulator, gateways: list[Gateway]) -> None:
    ecs = emulator.client("ecs")
    arns = [run(ecs, f"sb-{number}") for number in range(2)]
    until(lambda: all(each.visits for each in gateways), 20)
    visits = [visit for each in gateways for visit in each.visits]
    assert {(path, bearer) for _, path, bearer in visits} <= {
        ("/sandbox/v1/boot", f"Bearer ticket-sb-{number}") for number in range(2)
    }
    addresses = {each["sandbox"]: each["address"] for each in emulator.sandboxes()}
    assert len(set(addresses.values())) == 2
    assert {(bearer.removeprefix("Bearer ticket-"), source) for source, _, bearer in visits} <= set(
        addresses.items()
    )
    told = emulator.sandboxes()[0]["environment"]
    assert told.keys() == {*STATIC, "SANDBOX_ID", "BOOT_TICKET"}
    for arn in arns:
        ecs.stop_task(cluster="cluster", task=arn)
    until(lambda: not emulator.sandboxes())


def test_a_client_token_launches_once(emulator: Emulator, gateways: list[Gateway]) -> None:
    ecs = emulator.client("ecs")
    assert run(ecs, "sb-once", "token") == run(ecs, "sb-once", "token")
    with pytest.raises(ClientError, match="ConflictException"):
        run(ecs, "sb-other", "token")
    [arn] = ecs.list_tasks(cluster="cluster", startedBy="sb-once")["taskArns"]
    ecs.stop_task(cluster="cluster", task=arn)
    until(lambda: not emulator.sandboxes())


def test_changes_of_a_task_are_told(emulator: Emulator, gateways: list[Gateway]) -> None:
    taken, ecs = queue(emulator), emulator.client("ecs")
    run(ecs, "sb-killed")
    until(lambda: emulator.sandboxes() and gateways[0].visits + gateways[1].visits)
    emulator.tell("/kill", sandbox="sb-killed")
    told: list[dict[str, Any]] = []

    def over() -> bool:
        told.extend(taken())
        return bool(told) and told[-1]["lastStatus"] == "STOPPED"

    until(over)
    assert [change["lastStatus"] for change in told] == ["PENDING", "RUNNING", "STOPPED"]
    assert [change["version"] for change in told] == sorted({change["version"] for change in told})
    assert told[-1]["stopCode"] == "EssentialContainerExited"
    assert told[-1]["containers"][0]["exitCode"] == 137
    assert (told[-1]["startedBy"], told[-1]["group"]) == ("sb-killed", "launch:1")

    emulator.tell("/knobs", lost_events=1)
    arn = run(ecs, "sb-unheard")
    until(emulator.sandboxes)
    ecs.stop_task(cluster="cluster", task=arn)
    until(lambda: not emulator.sandboxes())
    run(ecs, "sb-after")
    until(lambda: any(change["startedBy"] == "sb-after" for change in taken()))
    [left] = ecs.list_tasks(cluster="cluster", startedBy="sb-after")["taskArns"]
    ecs.stop_task(cluster="cluster", task=left)
    until(lambda: not emulator.sandboxes())


@pytest.mark.parametrize(("knob", "words"), [("capacity", "Capacity is unavailable"), ("quota", "vCPUs")])
def test_run_task_can_be_refused(emulator: Emulator, knob: str, words: str) -> None:
    emulator.tell("/knobs", **{knob: 1})
    with pytest.raises(ClientError, match=words):
        run(emulator.client("ecs"), f"sb-{knob}")
    assert not emulator.client("ecs").list_tasks(cluster="cluster", startedBy=f"sb-{knob}")["taskArns"]


@pytest.mark.parametrize(
    ("allowed", "named"),
    [
        ([], "ecs:RunTask"),
        (["ecs:RunTask"], "iam:PassRole"),
        (["ecs:RunTask", "iam:PassRole"], None),
    ],
)  # fmt: skip
def test_run_task_needs_what_it_needs_on_aws(
    emulator: Emulator, gateways: list[Gateway], allowed: list[str], named: str | None
) -> None:
    iam, name = emulator.client("iam"), f"launcher-{len(allowed)}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_document(TRUST))["Role"]["Arn"]
    cluster = {"ArnEquals": {"ecs:cluster": "arn:aws:ecs:us-east-1:000000000000:cluster/cluster"}}
    statements: dict[str, dict[str, Any]] = {
        "ecs:RunTask": {
            "Resource": "arn:aws:ecs:us-east-1:*:task-definition/sandbox:*",
            "Condition": cluster,
        },
        "iam:PassRole": {
            "Resource": "arn:aws:iam::*:role/execution",
            "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        },
    }
    if allowed:
        policy = [{"Effect": "Allow", "Action": action, **statements[action]} for action in allowed]
        iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=_document(*policy))
    ecs = emulator.client_as(role, "ecs")
    if named:
        with pytest.raises(ClientError, match=f"AccessDenied.*{named}"):
            run(ecs, f"sb-role-{len(allowed)}")
        return
    arn = run(ecs, "sb-role")
    with pytest.raises(ClientError, match=r"AccessDenied.*ecs:StopTask"):
        ecs.stop_task(cluster="cluster", task=arn)
    emulator.client("ecs").stop_task(cluster="cluster", task=arn)
    until(lambda: not emulator.sandboxes())
