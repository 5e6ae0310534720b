"""Deploy, update, an update that fails, destroy: of the real stack, by the operator's commands."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.server import until
from tests.rehearsal.assembly import Template, changed, only
from tests.rehearsal.deployment import STACK, Deployment, Failed
from tests.rehearsal.emulator_process import Emulator
from tests.rehearsal.front import Front, streamed

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("lifecycle")
    emulator = Emulator(folder / "emulator.log")
    try:
        made = Deployment(emulator, folder)
        made.bootstrap()
        made.deploy(made.synthesise(folder / "first"))
        yield made
    finally:
        emulator.stop()


@pytest.fixture(scope="module")
def api(deployed: Deployment) -> Iterator[httpx2.Client]:
    key = deployed.operate("key", "--account", "rehearsal").strip()
    front = Front(deployed.emulator, deployed.outputs, streamed(deployed.emulator, STACK))
    with httpx2.Client(base_url=front.url, headers={"X-API-Key": key}, timeout=40) as http:
        yield http
    front.close()


def test_it_goes_through_an_update_a_failing_one_and_its_end(
    deployed: Deployment, api: httpx2.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator = deployed.emulator
    made = api.post("/v1/sessions", json={"prompt": "say 3 words", "user_id": "user_42"})
    assert made.status_code == 201, made.text
    path = f"/v1/sessions/{made.json()['id']}"
    until(emulator.sandboxes)

    deployed.deploy(deployed.synthesise(tmp_path / "second", size="standard"), "update")
    assert deployed.status() == "UPDATE_COMPLETE"
    assert service(deployed)["desiredCount"] == 2
    assert api.get(path).json()["status"] == "running"

    with pytest.raises(Failed, match="No hosted zone with id"):
        deployed.deploy(changed(tmp_path / "second", tmp_path / "third", breaking), "failing update")
    assert deployed.status() == "UPDATE_ROLLBACK_COMPLETE"
    functions = emulator.client("lambda").list_functions()["Functions"]
    assert {function["Timeout"] for function in functions if "Api" in function["FunctionName"]} == {29}
    assert api.get(path).json()["status"] == "running"

    said = deployed.operate("destroy", "--yes")
    assert "1 sandboxes were stopped" in said
    assert deployed.status() is None
    assert not emulator.sandboxes()
    clusters = emulator.client("ecs").list_clusters()["clusterArns"]
    assert deployed.outputs["ClusterName"] not in str(clusters)
    kept = emulator.client("dynamodb").scan(TableName=deployed.outputs["TableName"])["Items"]
    assert any(made.json()["id"] in str(item) for item in kept)
    with capsys.disabled():
        print(f"\nseconds: {deployed.times}")


def service(deployed: Deployment) -> dict[str, object]:
    cluster, name = deployed.outputs["ClusterName"], deployed.outputs["GatewayService"]
    answer = deployed.emulator.client("ecs").describe_services(cluster=cluster, services=[name])
    return dict(answer["services"][0])


def breaking(body: Template) -> None:
    """One change that can be made, and one that cannot."""
    only(body, "AWS::Lambda::Function", Handler="functions.api.handler")["Properties"]["Timeout"] = 28
    name = {"HostedZoneId": "ZNOTHERE", "Name": "x.example.com", "Type": "A", "TTL": 60}
    body["Resources"]["Broken"] = {
        "Type": "AWS::Route53::RecordSet",
        "Properties": {**name, "ResourceRecords": ["192.0.2.1"]},
    }
