"""Findings, and those about what exists already: a table, models, a stack."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from botocore.exceptions import ClientError

from infra.context import Context
from infra.ops.account import Account, Deployment
from opensessions.aws.table import TTL, table_definition

_MARKS = {"good": "ok  ", "unsure": "??  ", "bad": "NO  "}


@dataclass(frozen=True, slots=True)
class Finding:
    """`bad` stops a deployment; `unsure` is to be known before it."""

    level: Literal["good", "unsure", "bad"]
    name: str
    what: str
    to_do: str = ""

    def __str__(self) -> str:
        line = f"{_MARKS[self.level]}{self.name}: {self.what}"
        return f"{line}\n      -> {self.to_do}" if self.to_do else line


def good(name: str, what: str) -> Finding:
    return Finding("good", name, what)


def unsure(name: str, what: str, to_do: str) -> Finding:
    return Finding("unsure", name, what, to_do)


def bad(name: str, what: str, to_do: str) -> Finding:
    return Finding("bad", name, what, to_do)


def table(account: Account, context: Context) -> Iterator[Finding]:
    """A table that is to be adopted: of our shape, and with what a restored one has lost."""
    name = context.table_name
    if not name:
        return
    dynamodb = account.client("dynamodb")
    try:
        described = dynamodb.describe_table(TableName=name)["Table"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        yield bad(
            "Table", f"table_name is {name!r}, and there is none", "`aws dynamodb list-tables` lists them."
        )
        return
    wanted = table_definition()
    indexes = {index["IndexName"] for index in described.get("GlobalSecondaryIndexes", [])}
    missing = {index["IndexName"] for index in wanted["GlobalSecondaryIndexes"]} - indexes
    if described["TableStatus"] != "ACTIVE":
        yield bad("Table", f"{name} is {described['TableStatus']}", "Wait until it is ACTIVE.")
    elif described["KeySchema"] != wanted["KeySchema"] or missing:
        lack = f"it lacks the indexes {', '.join(sorted(missing))}" if missing else "its keys are others"
        yield bad("Table", f"{name} is not one of ours: {lack}", "Restore it with all its indexes.")
    else:
        yield good("Table", f"{name} is adopted")
        yield from _lost(account, name)


def _lost(account: Account, name: str) -> Iterator[Finding]:
    """A restore brings neither expiry nor point-in-time recovery back."""
    dynamodb = account.client("dynamodb")
    expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["TimeToLiveStatus"]
    if expiry not in ("ENABLED", "ENABLING"):
        switch = f"aws dynamodb update-time-to-live --table-name {name} --time-to-live-specification"
        yield unsure("Table", "nothing in it expires", f"{switch} Enabled=true,AttributeName={TTL}")
    backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus")
    if recovery != "ENABLED":
        switch = f"aws dynamodb update-continuous-backups --table-name {name}"
        on = "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
        yield unsure("Table", "it has no point-in-time recovery", f"{switch} {on}")


def bedrock(account: Account, context: Context) -> Iterator[Finding]:
    """Whether the account may use a model of Anthropic's."""
    if context.model != "bedrock":
        return
    client = account.client("bedrock")
    listed = client.list_foundation_models(byProvider="Anthropic")["modelSummaries"]
    models = [one["modelId"] for one in listed if one["modelId"].count(":") < 2]
    usable = [model for model in models if _usable(client.get_foundation_model_availability(modelId=model))]
    if usable:
        yield good("Bedrock", f"{len(usable)} of {len(models)} models can be used, {usable[0]} among them")
    elif models:
        ask = "Bedrock's console, Model access: ask for a Claude model; it takes minutes."
        yield bad("Bedrock", f"none of {len(models)} Claude models may be used", ask)
    else:
        yield bad(
            "Bedrock", f"{account.region} has no Claude models", "Choose another region, or model=anthropic."
        )


def _usable(said: dict[str, object]) -> bool:
    agreed = said.get("agreementAvailability")
    return (
        said.get("authorizationStatus") == "AUTHORIZED"
        and said.get("entitlementAvailability") == "AVAILABLE"
        and said.get("regionAvailability") == "AVAILABLE"
        and (not isinstance(agreed, dict) or agreed.get("status") == "AVAILABLE")
    )


def stack(deployment: Deployment, context: Context) -> Iterator[Finding]:
    """The state of what is deployed already, and whether the model's key was put in."""
    status = deployment.status
    if status is None:
        yield good("Stack", f"there is no {deployment.stack} yet; it is made")
        return
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED"):
        remove = f"aws cloudformation delete-stack --stack-name {deployment.stack}"
        yield bad("Stack", f"{deployment.stack} is {status}: it can only be deleted", remove)
        return
    if status == "UPDATE_ROLLBACK_FAILED":
        resume = f"aws cloudformation continue-update-rollback --stack-name {deployment.stack}"
        yield bad("Stack", f"{deployment.stack} is {status}", resume)
        return
    if status.endswith("IN_PROGRESS"):
        yield bad("Stack", f"{deployment.stack} is {status}", "Wait until it is over.")
        return
    yield good("Stack", f"{deployment.stack} is {status}; it is updated")
    if context.model == "anthropic" and "ModelSecretName" in deployment.outputs:
        yield from _model_key(deployment)


def _model_key(deployment: Deployment) -> Iterator[Finding]:
    name = deployment.output("ModelSecretName")
    described = deployment.account.client("secretsmanager").describe_secret(SecretId=name)
    versions = described.get("VersionIdsToStages", {})
    if len(versions) < 2:  # the stack itself puts a random one in
        put = f"aws secretsmanager put-secret-value --secret-id {name} --secret-string file:///dev/stdin"
        yield unsure("Model key", "it was not put in, so no turn works", f"{put}, then paste the key.")
    else:
        yield good("Model key", f"{name} holds one")
