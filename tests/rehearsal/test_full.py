"""The full form at work: real containers of the real images, and what passes between them."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from socket import AF_INET
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tests.e2e.target import until
from tests.images.podman import podman
from tests.rehearsal.emulator.namespaces import dialling
from tests.rehearsal.emulator.vpc import AWS, FOREIGN, FOREIGN_NAME, GATEWAY_NAME
from tests.rehearsal.full import FullRehearsal

pytestmark = [pytest.mark.images, pytest.mark.timeout(900)]

PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor
def tried(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
    except OSError as error:
        return "silent" if isinstance(error, TimeoutError) else str(error)
    return "open"
targets = sys.argv[1:]
print(json.dumps(dict(zip(targets, ThreadPoolExecutor(20).map(tried, targets)))))
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FullRehearsal]:
    running = FullRehearsal(tmp_path_factory.mktemp("full"))
    print(f"\nseconds: {running.deployment.times}")
    yield running
    family = psutil.Process(running.emulator.process.pid).children(recursive=True)
    running.stop()
    until(lambda: not any(each.is_running() for each in family), 10)
    assert "ministack-ecs" not in podman("ps", "--all", "--format={{.Names}}")


@pytest.fixture(scope="module")
def session(full: FullRehearsal) -> dict[str, Any]:
    """One whose agent has built an app."""
    made = full.create("Build a todo app")
    told = full.turn(made, seconds=120)
    assert (told[0]["type"], told[-1]["reason"]) == ("sandbox_ready", "completed")
    return made


@pytest.fixture(scope="module")
def other(full: FullRehearsal) -> dict[str, Any]:
    made = full.create("say 3 words")
    full.turn(made, seconds=120)
    return made


def task(full: FullRehearsal, **which: str) -> tuple[str, str]:
    """The container and the address of one that runs, by what ECS says of it."""
    ecs, cluster = full.emulator.client("ecs"), full.outputs["ClusterName"]
    [arn] = ecs.list_tasks(cluster=cluster, **which)["taskArns"]
    [found] = ecs.describe_tasks(cluster=cluster, tasks=[arn])["tasks"]
    details = {each["name"]: each["value"] for each in found["attachments"][0]["details"]}
    return found["containers"][0]["runtimeId"], details["privateIPv4Address"]


def tried(container: str, *targets: str) -> dict[str, str]:
    """What came of connecting to each from within a container: `open`, `silent`, or the system's word."""
    return dict(json.loads(podman("exec", container, "python3", "-c", PROBE, *targets)))


def test_a_turn_a_preview_and_another_turn(full: FullRehearsal, session: dict[str, Any]) -> None:
    before = full.preview(session)
    assert before.status_code == 200 and "<title>" in before.text
    full.turn(full.get(session), "Make the header blue", seconds=120)
    assert full.preview(session).text != before.text
    assert full.preview(session, port=9999).status_code != 200


def test_a_sandbox_reaches_the_gateways_two_ports_and_nothing_else(
    full: FullRehearsal, session: dict[str, Any], other: dict[str, Any]
) -> None:
    here, own = task(full, startedBy=session["sandboxId"])
    _, neighbour = task(full, startedBy=other["sandboxId"])
    _, gateway = task(full, serviceName=full.outputs["GatewayService"])
    allowed = [f"{GATEWAY_NAME}:8001", f"{gateway}:8002", f"{own}:7070"]
    with port_of_this_machine() as listener:
        closed = [
            f"{gateway}:8000", f"{neighbour}:7070", f"{neighbour}:3000", f"{AWS}:{full.emulator.port}",
            f"{FOREIGN}:80", "169.254.1.1:80", "169.254.170.2:80", listener,
        ]  # fmt: skip
        found = tried(here, *allowed, *closed)
    assert found == {**dict.fromkeys(allowed, "open"), **dict.fromkeys(closed, "silent")}
    [unknown] = tried(here, f"{FOREIGN_NAME}:80").values()
    assert "not known" in unknown or "resolution" in unknown


def test_only_the_gateway_reaches_a_sandbox_and_only_its_door(
    full: FullRehearsal, session: dict[str, Any]
) -> None:
    _, sandbox = task(full, startedBy=session["sandboxId"])
    gateway, address = task(full, serviceName=full.outputs["GatewayService"])
    balancer = full.emulator.tell("/balancer")["namespace"]
    allowed = [f"{sandbox}:7070", f"{AWS}:{full.emulator.port}", f"{FOREIGN}:80"]
    found = tried(gateway, *allowed, f"{sandbox}:3000")
    assert found == {**dict.fromkeys(allowed, "open"), f"{sandbox}:3000": "silent"}
    assert reached(balancer, address, 8000)
    assert not reached(balancer, address, 8001) and not reached(balancer, sandbox, 7070)


def test_the_internet_is_reached_through_the_gateway_alone(
    full: FullRehearsal, session: dict[str, Any]
) -> None:
    direct = f"curl -s --noproxy '*' --max-time 3 http://{FOREIGN}/ || echo status $?"
    told = full.turn(full.get(session), f"run: curl -s http://{FOREIGN_NAME}/; {direct}", seconds=120)
    said = json.dumps([event["message"] for event in told if event["type"] == "user"])
    assert "somebody else" in said and "status 28" in said


def test_it_is_the_security_groups_that_keep_sandboxes_apart(
    full: FullRehearsal, session: dict[str, Any], other: dict[str, Any]
) -> None:
    here, _ = task(full, startedBy=session["sandboxId"])
    _, neighbour = task(full, startedBy=other["sandboxId"])
    ec2 = full.emulator.client("ec2")
    [group] = [
        each["GroupId"]
        for each in ec2.describe_security_groups()["SecurityGroups"]
        if each["Description"] == "Sandboxes"
    ]
    everyone = {"IpProtocol": "tcp", "FromPort": 7070, "ToPort": 7070, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    for change in (ec2.authorize_security_group_ingress, ec2.authorize_security_group_egress):
        assert tried(here, f"{neighbour}:7070") == {f"{neighbour}:7070": "silent"}
        change(GroupId=group, IpPermissions=[everyone])
        full.emulator.tell("/balancer")
    assert tried(here, f"{neighbour}:7070") == {f"{neighbour}:7070": "open"}
    for change in (ec2.revoke_security_group_ingress, ec2.revoke_security_group_egress):
        change(GroupId=group, IpPermissions=[everyone])
    full.emulator.tell("/balancer")
    assert tried(here, f"{neighbour}:7070") == {f"{neighbour}:7070": "silent"}


def test_deleting_a_session_ends_its_container(
    full: FullRehearsal, session: dict[str, Any], other: dict[str, Any]
) -> None:
    for each in (session, other):
        full.delete(each)
    until(lambda: not full.running(session) and not full.running(other))
    assert "sandbox" not in podman("ps", "--format={{.Names}}")


@contextmanager
def port_of_this_machine() -> Iterator[str]:
    """One that is open, and not of the loopback unless there is nothing else."""
    found = [
        each.address for all_ in psutil.net_if_addrs().values() for each in all_ if each.family == AF_INET
    ]
    host = max(found, key=lambda address: not address.startswith("127."))
    with socket.create_server((host, 0)) as listener:
        port = listener.getsockname()[1]
        socket.create_connection((host, port), 3).close()
        yield f"{host}:{port}"


def reached(namespace: str, host: str, port: int) -> bool:
    with dialling(namespace) as made:
        made.settimeout(3)
        return made.connect_ex((host, port)) == 0
