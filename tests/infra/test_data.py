"""Where sessions are kept: the table that the code knows, and that neither table nor bucket is lost."""

from typing import Any

import pytest

from opensessions.aws import table
from tests.infra.stacks import Template, of_type, properties, template

pytestmark = pytest.mark.infra

KEPT = ("AWS::DynamoDB::GlobalTable", "AWS::S3::Bucket", "AWS::SecretsManager::Secret")


def test_the_table_is_the_one_that_the_code_defines() -> None:
    made, defined = _table(template()), table.table_definition()
    assert made["KeySchema"] == defined["KeySchema"]
    assert _by_name(made["AttributeDefinitions"]) == _by_name(defined["AttributeDefinitions"])
    assert made["BillingMode"] == defined["BillingMode"]
    assert {index["IndexName"]: index for index in made["GlobalSecondaryIndexes"]} == {
        index["IndexName"]: index for index in defined["GlobalSecondaryIndexes"]
    }
    assert made["TimeToLiveSpecification"] == {"AttributeName": table.TTL, "Enabled": True}


def test_the_table_is_guarded() -> None:
    [replica] = _table(template())["Replicas"]
    assert replica["DeletionProtectionEnabled"] is True
    assert replica["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert _table(template())["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}


@pytest.mark.parametrize("kind", KEPT)
def test_data_outlives_the_stack(kind: str) -> None:
    made = of_type(template(), kind)
    assert made
    for part in made.values():
        assert part["DeletionPolicy"] == part["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_is_private_and_forgets_what_was_replaced() -> None:
    [bucket] = properties(template(), "AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    [rule] = bucket["LifecycleConfiguration"]["Rules"]
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}


@pytest.mark.parametrize("days", [None, 90])
def test_objects_go_with_their_session_and_not_by_their_age(days: int | None) -> None:
    """A template and what a sleeping session comes back from may be old."""
    made = template(**({"retention_days": days} if days else {}))
    [bucket] = properties(made, "AWS::S3::Bucket")
    assert not [rule for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule]
    told = [
        f["Environment"]["Variables"] for f in properties(made, "AWS::Lambda::Function") if "Environment" in f
    ]
    kept = [variables["RETENTION_DAYS"] for variables in told if "RETENTION_DAYS" in variables]
    assert kept == [str(days or 0)] * 3


def test_logs_are_kept_for_a_month() -> None:
    groups = properties(template(), "AWS::Logs::LogGroup")
    assert len(groups) >= 6
    assert {group["RetentionInDays"] for group in groups} == {30}


def test_the_master_key_is_made_of_64_hex_digits() -> None:
    [master] = [
        secret
        for secret in properties(template(), "AWS::SecretsManager::Secret")
        if secret["GenerateSecretString"].get("PasswordLength") == 64
    ]
    made = master["GenerateSecretString"]
    assert made["ExcludeUppercase"] is made["ExcludePunctuation"] is True
    assert not made["IncludeSpace"] and not made["RequireEachIncludedType"]
    assert set("abcdefghijklmnopqrstuvwxyz") - set(made["ExcludeCharacters"]) == set("abcdef")


def _table(made: Template) -> dict[str, Any]:
    [found] = properties(made, "AWS::DynamoDB::GlobalTable")
    return found


def _by_name(attributes: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(attributes, key=lambda attribute: attribute["AttributeName"])
