"""Every finding, with what AWS answers when it is due."""

from collections.abc import Iterator
from typing import Any

import pytest

from infra.context import Context, read
from infra.ops import examination, found
from infra.ops.found import Finding
from opensessions.aws.table import table_definition
from tests.infra.ops.conftest import StubbedAccount

ARN = "arn:aws:sts::000000000000:assumed-role/admin/me"


def context(**chosen: str) -> Context:
    return read(chosen.get)


def only(findings: Iterator[Finding]) -> Finding:
    [finding] = findings
    return finding


def identity(account: StubbedAccount, arn: str = ARN) -> None:
    answer = {"UserId": "me", "Account": "000000000000", "Arn": arn}
    account.stub("sts").add_response("get_caller_identity", answer)


# ---- this machine ----


def test_an_old_node_is_told(tmp_path: Any) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v20.20.2\n")
    node.chmod(0o755)
    finding = only(examination.tools(context(), lambda name: str(node) if name == "node" else None))
    assert (finding.level, finding.what) == ("unsure", "v20.20.2") and "22" in finding.to_do


def test_no_node_stops_it() -> None:
    assert only(examination.tools(context(), lambda _: None)).level == "bad"


def test_docker_is_asked_for_where_it_is_needed(tmp_path: Any) -> None:
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v24.1.0\n")
    node.chmod(0o755)
    which = {"node": str(node)}.get
    assert [finding.level for finding in examination.tools(context(images="asset"), which)] == ["good", "bad"]
    assert [finding.level for finding in examination.tools(context(), which)] == ["good"]


# ---- the account ----


def test_who_deploys_is_told(account: StubbedAccount) -> None:
    identity(account)
    assert only(examination.credentials(account)).what == f"{ARN} in us-east-1"


def test_refused_credentials_stop_it(account: StubbedAccount) -> None:
    account.stub("sts").add_client_error("get_caller_identity", "ExpiredToken")
    finding = only(examination.credentials(account))
    assert finding.level == "bad" and "ExpiredToken" in finding.what and "aws sso login" in finding.to_do


def test_the_root_user_is_told_off(account: StubbedAccount) -> None:
    identity(account, "arn:aws:iam::000000000000:root")
    assert [finding.level for finding in examination.credentials(account)] == ["good", "unsure"]


def test_no_credentials_and_no_region_stop_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert only(examination.credentials(examination.Account())).name == "Region"
    finding = only(examination.credentials(examination.Account("us-east-1")))
    assert (finding.level, finding.name) == ("bad", "Credentials")


@pytest.mark.parametrize(("version", "level"), [("5", "unsure"), ("30", "good"), (None, "unsure")])
def test_the_bootstrap_is_looked_for(account: StubbedAccount, version: str | None, level: str) -> None:
    if version:
        account.stub("ssm").add_response("get_parameter", {"Parameter": {"Value": version}})
    else:
        account.stub("ssm").add_client_error("get_parameter", "ParameterNotFound")
    finding = only(examination.bootstrap(account, context()))
    assert finding.level == level
    assert (level == "good") != ("make deploy" in finding.to_do)


@pytest.mark.parametrize(("vcpu", "level"), [(1.0, "bad"), (6.0, "unsure"), (400.0, "good")])
def test_the_quota_of_fargate_is_told_in_sandboxes(account: StubbedAccount, vcpu: float, level: str) -> None:
    asked = {"ServiceCode": "fargate", "QuotaCode": "L-3032A538"}
    account.stub("service-quotas").add_response("get_service_quota", {"Quota": {"Value": vcpu}}, asked)
    finding = only(examination.fargate(account, context()))
    assert finding.level == level and f"{int(vcpu - 0.5)} sandboxes" in finding.what


@pytest.mark.parametrize(("limit", "level"), [(10, "unsure"), (1000, "good")])
def test_the_quota_of_lambda_is_told(account: StubbedAccount, limit: int, level: str) -> None:
    answer = {"AccountLimit": {"ConcurrentExecutions": limit}}
    account.stub("lambda").add_response("get_account_settings", answer)
    assert only(examination.concurrency(account, context())).level == level


def test_a_missing_role_of_ecs_stops_it(account: StubbedAccount) -> None:
    account.stub("iam").add_client_error("get_role", "NoSuchEntity")
    assert "create-service-linked-role" in only(examination.ecs_role(account, context())).to_do


DOMAIN = {"previews": "domain", "preview_domain": "p.example.net", "hosted_zone_id": "Z1"}


@pytest.mark.parametrize(
    ("zone", "level"),
    [("example.net.", "good"), ("p.example.net.", "good"), ("example.org.", "bad"), ("ple.net.", "bad")],
)
def test_a_zone_covers_its_domain(account: StubbedAccount, zone: str, level: str) -> None:
    answer = {"HostedZone": {"Id": "Z1", "Name": zone, "CallerReference": "x"}}
    account.stub("route53").add_response("get_hosted_zone", answer, {"Id": "Z1"})
    assert only(examination.zones(account, context(**DOMAIN))).level == level


def test_a_private_or_missing_zone_stops_it(account: StubbedAccount) -> None:
    zone = {"Id": "Z1", "Name": "example.net.", "CallerReference": "x", "Config": {"PrivateZone": True}}
    account.stub("route53").add_response("get_hosted_zone", {"HostedZone": zone})
    account.stub("route53").add_client_error("get_hosted_zone", "NoSuchHostedZone")
    for what in ("private", "no Z1"):
        finding = only(examination.zones(account, context(**DOMAIN)))
        assert finding.level == "bad" and what in finding.what


def test_what_may_not_be_looked_at_stops_nothing(account: StubbedAccount) -> None:
    account.stub("route53").add_client_error("get_hosted_zone", "AccessDenied")
    finding = only(examination.zones(account, context(**DOMAIN)))
    assert finding.level == "unsure" and "GetHostedZone was answered AccessDenied" in finding.what


# ---- what exists already ----


def _table(**other: Any) -> dict[str, Any]:
    definition = table_definition()
    shape = {name: definition[name] for name in ("KeySchema", "GlobalSecondaryIndexes")}
    return {"Table": {"TableName": "restored", "TableStatus": "ACTIVE", **shape, **other}}


def test_a_restored_table_has_lost_something(account: StubbedAccount) -> None:
    stub = account.stub("dynamodb")
    stub.add_response("describe_table", _table())
    stub.add_response("describe_time_to_live", {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}})
    backups = {"ContinuousBackupsStatus": "ENABLED"}
    stub.add_response("describe_continuous_backups", {"ContinuousBackupsDescription": backups})
    findings = list(found.table(account, context(table_name="restored")))
    assert [finding.level for finding in findings] == ["good", "unsure", "unsure"]
    assert "update-time-to-live" in findings[1].to_do
    assert "update-continuous-backups" in findings[2].to_do


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (_table(TableStatus="CREATING"), "CREATING"),
        (_table(GlobalSecondaryIndexes=[]), "lacks the indexes by_account, by_user, due"),
        (_table(KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}]), "its keys are others"),
        (None, "there is none"),
    ],
)
def test_a_table_that_cannot_be_adopted_stops_it(
    account: StubbedAccount, answer: dict[str, Any] | None, what: str
) -> None:
    if answer:
        account.stub("dynamodb").add_response("describe_table", answer)
    else:
        account.stub("dynamodb").add_client_error("describe_table", "ResourceNotFoundException")
    finding = only(found.table(account, context(table_name="restored")))
    assert finding.level == "bad" and what in finding.what


USABLE = {
    "modelId": "anthropic.claude-a-v1:0",
    "agreementAvailability": {"status": "AVAILABLE"},
    "authorizationStatus": "AUTHORIZED",
    "entitlementAvailability": "AVAILABLE",
    "regionAvailability": "AVAILABLE",
}


@pytest.mark.parametrize(
    ("said", "level"),
    [
        (USABLE, "good"),
        (USABLE | {"entitlementAvailability": "NOT_AVAILABLE"}, "bad"),
        (USABLE | {"agreementAvailability": {"status": "PENDING"}}, "bad"),
        (None, "bad"),
    ],
)
def test_bedrock_must_let_a_model_be_used(
    account: StubbedAccount, said: dict[str, Any] | None, level: str
) -> None:
    stub = account.stub("bedrock")
    model = {"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/x", "modelId": USABLE["modelId"]}
    stub.add_response("list_foundation_models", {"modelSummaries": [model] if said else []})
    if said:
        stub.add_response("get_foundation_model_availability", said)
    assert only(found.bedrock(account, context(model="bedrock"))).level == level


def test_without_bedrock_it_is_not_asked(account: StubbedAccount) -> None:
    assert list(found.bedrock(account, context())) == []


@pytest.mark.parametrize(
    ("status", "level", "to_do"),
    [
        ("ROLLBACK_COMPLETE", "bad", "delete-stack"),
        ("UPDATE_ROLLBACK_FAILED", "bad", "continue-update-rollback"),
        ("UPDATE_IN_PROGRESS", "bad", "Wait"),
        ("UPDATE_COMPLETE", "good", ""),
    ],
)
def test_the_state_of_the_stack_is_told(account: StubbedAccount, status: str, level: str, to_do: str) -> None:
    finding = only(found.stack(account.deployed(status), context()))
    assert finding.level == level and to_do in finding.to_do


def test_a_first_deployment_finds_no_stack(account: StubbedAccount) -> None:
    assert only(found.stack(account.absent(), context())).level == "good"


@pytest.mark.parametrize(
    ("versions", "level"),
    [({"1" * 32: ["AWSCURRENT"]}, "unsure"), ({"1" * 32: ["AWSPREVIOUS"], "2" * 32: ["AWSCURRENT"]}, "good")],
)
def test_a_model_key_that_nobody_put_in_is_told(
    account: StubbedAccount, versions: dict[str, list[str]], level: str
) -> None:
    deployment = account.deployed(ModelSecretName="model-key")
    account.stub("secretsmanager").add_response("describe_secret", {"VersionIdsToStages": versions})
    _, finding = found.stack(deployment, context())
    assert finding.level == level


# ---- the whole ----


def test_a_wrong_choice_is_the_only_finding(account: StubbedAccount) -> None:
    finding = only(examination.examine(account, ["previews=domain"]))
    assert finding.level == "bad" and "preview_domain" in finding.what


def test_without_credentials_the_price_is_still_told(account: StubbedAccount) -> None:
    account.stub("sts").add_client_error("get_caller_identity", "InvalidClientTokenId")
    said: list[str] = []
    assert examination.run(account, ["network=open", "previews=off"], said.append) == 1
    assert said[-1].endswith("to be mended before `make deploy`.")
    assert "network=open previews=off size=small: $3" in said[-2]
