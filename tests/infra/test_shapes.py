"""Every shape that the stack can take: it synthesises, and neither cfn-lint nor cdk-nag has a word to say."""

import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.infra.stacks import ROOT, findings, of_type, template

pytestmark = pytest.mark.infra

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/opensessions:1.0"
WAYS = [
    {"network": network, "previews": previews}
    for network, previews in product(("isolated", "open"), ("domain", "trial", "off"))
]
PARTS = [
    {"size": size, "images": images, "model": model}
    for size, images, model in product(
        ("small", "standard"), ("build", "asset", ECR), ("anthropic", "bedrock")
    )
]
EXTRAS: list[dict[str, Any]] = [
    {"table_name": "restored", "retention_days": 30, "alarm_email": "ops@example.com"},
    {"egress_allow": "example.com", "stack": "another"},
    {"previews": "trial", "domain": "api.example.com", "hosted_zone_id": "Z1"},
]


def _name(context: dict[str, Any]) -> str:
    return "-".join(str(value).partition("/")[0] for value in context.values())


@pytest.mark.parametrize("context", [*WAYS, *PARTS], ids=_name)
def test_it_synthesises(context: dict[str, Any]) -> None:
    made = template(**context)
    outputs = {
        "ApiUrl", "PreviewUrl", "TableName", "BucketName", "ClusterName", "GatewayService",
        "SandboxTaskDefinition", "TasksQueueUrl", "DeliveriesQueueUrl", "CallbackFunction", "SweepFunction",
        "ModelSecretName",
    }  # fmt: skip
    assert outputs <= set(made["Outputs"])
    assert len(made["Resources"]) < 300, "CloudFormation takes 500"


@pytest.mark.parametrize("context", [*WAYS, PARTS[-1], EXTRAS[0]], ids=_name)
def test_cfn_lint_finds_no_error(context: dict[str, Any]) -> None:
    from cfnlint.api import lint  # type: ignore[import-untyped]
    from cfnlint.config import ManualArgs  # type: ignore[import-untyped]

    found = lint(json.dumps(template(**context)), config=ManualArgs(regions=["us-east-1"]))
    assert not [str(match) for match in found if match.rule.severity == "error"]
    assert not [str(match) for match in found if match.rule.id == "W3037"], "an action that IAM does not know"


@pytest.mark.parametrize("context", [*WAYS, PARTS[1], PARTS[2], PARTS[-1], *EXTRAS], ids=_name)
def test_cdk_nag_finds_nothing(context: dict[str, Any]) -> None:
    assert not findings(**context)


def test_each_acknowledgement_has_a_reason() -> None:
    from infra.acknowledged import ACKNOWLEDGED

    for part, rules in ACKNOWLEDGED.items():
        for rule, reason in rules.items():
            assert len(reason.split()) > 3, f"{part} {rule}"
            assert reason.endswith("."), f"{part} {rule}"


def test_a_terminal_with_node_is_enough(tmp_path: Path) -> None:
    """No credentials, no home, no Docker, no npm: what is on a fresh clone, and `node`."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "node").symlink_to(str(shutil.which("node")))
    kept = {name: value for name, value in os.environ.items() if name.startswith(("SSL_", "PIP_", "UV_"))}
    environment = {**kept, "PATH": str(tools), "CDK_OUTDIR": str(tmp_path / "out"), "HOME": str(tmp_path)}
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    environment["CDK_CONTEXT_JSON"] = json.dumps({**context, "aws:cdk:bundling-stacks": []})
    command = [sys.executable, "-m", "infra.app"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "end-of-life" not in done.stderr
    assert (tmp_path / "out" / "opensessions.template.json").exists()


def test_a_wrong_context_is_one_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "CDK_CONTEXT_JSON": '{"network": "closed"}', "CDK_OUTDIR": str(tmp_path)}
    command = [sys.executable, "-m", "infra.app"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("network must be isolated or open, not 'closed'.")
    assert "Traceback" not in done.stderr


def test_nothing_has_a_name_of_its_own_choosing() -> None:
    """Names that a person chose keep a second stack, or a replacement, from being made."""
    named = {
        "AWS::DynamoDB::GlobalTable": "TableName", "AWS::S3::Bucket": "BucketName",
        "AWS::Lambda::Function": "FunctionName", "AWS::SQS::Queue": "QueueName", "AWS::IAM::Role": "RoleName",
        "AWS::ECS::Cluster": "ClusterName", "AWS::Logs::LogGroup": "LogGroupName",
        "AWS::SecretsManager::Secret": "Name", "AWS::ElasticLoadBalancingV2::LoadBalancer": "Name",
    }  # fmt: skip
    made = template()
    for kind, key in named.items():
        assert of_type(made, kind), kind
        assert not [name for name, part in of_type(made, kind).items() if key in part.get("Properties", {})]
