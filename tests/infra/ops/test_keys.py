from typing import Any

import pytest

from infra.ops import keys
from infra.ops.account import OperatorError
from opensessions.access import tokens
from opensessions.aws.audit import DynamoAudit
from opensessions.aws.keyring import DynamoKeyring
from tests.contract.samples import START
from tests.infra.ops.conftest import StubbedAccount


def test_a_key_opens_its_account_and_only_its_hash_is_stored(
    account: StubbedAccount, table_client: Any
) -> None:
    account.real["dynamodb"] = table_client
    made, _ = keys.create(account.deployed(TableName="sessions"), "acme", "reports", "read")
    assert made.startswith("osb_")
    found = DynamoKeyring("sessions", table_client).find(tokens.sha256(made))
    assert found and (found.account, found.name, found.scope) == ("acme", "reports", "read")
    assert made not in str(table_client.scan(TableName="sessions")["Items"])


def test_keys_are_rotated_by_a_second_one(account: StubbedAccount, table_client: Any) -> None:
    account.real["dynamodb"] = table_client
    deployment = account.deployed(TableName="sessions")
    (old, first), (new, second) = keys.create(deployment, "acme"), keys.create(deployment, "acme")
    with pytest.raises(OperatorError, match="revoke the older one first"):
        keys.create(deployment, "acme")
    shown = keys.listed(deployment, "acme").splitlines()
    assert [line.split()[0] for line in shown] == [first.id, second.id]
    assert "default  read,write,admin  created 20" in shown[0] and shown[0].endswith("last used -")
    assert keys.revoke(deployment, first.id).id == first.id
    keyring = DynamoKeyring("sessions", table_client)
    gone, good = (keyring.find(tokens.sha256(key)) for key in (old, new))
    assert gone and gone.revoked_at and good and not good.revoked_at
    assert keys.revoke(deployment, tokens.sha256(new)).id == second.id
    assert "no keys" in keys.listed(deployment, "acme")
    audit = DynamoAudit("sessions", table_client)
    entries = audit.page("acme", START.replace(year=2020), START.replace(year=2999), 9, None).entries
    assert [(entry.action, entry.by.kind) for entry in entries] == [
        (action, "operator") for action in ("revoke_key", "revoke_key", "create_key", "create_key")
    ]


@pytest.mark.parametrize("name", ["", "a#b", "x" * 65, "-a", "a b", "ä"])
def test_an_account_that_would_not_fit_into_a_key_is_refused(
    account: StubbedAccount, table_client: Any, name: str
) -> None:
    account.real["dynamodb"] = table_client
    with pytest.raises(OperatorError, match="An account is"):
        keys.create(account.deployed(TableName="sessions"), name)


@pytest.mark.parametrize(
    ("name", "scopes", "reason"),
    [
        ("", "admin", "name is"),
        (" x", "admin", "name is"),
        ("x", "", "Scopes are"),
        ("x", "read,all", "'all'"),
    ],
)
def test_a_key_has_a_name_and_known_scopes(
    account: StubbedAccount, table_client: Any, name: str, scopes: str, reason: str
) -> None:
    account.real["dynamodb"] = table_client
    with pytest.raises(OperatorError, match=reason):
        keys.create(account.deployed(TableName="sessions"), "acme", name, scopes)


def test_the_key_itself_is_not_taken_for_its_id(account: StubbedAccount, table_client: Any) -> None:
    account.real["dynamodb"] = table_client
    with pytest.raises(OperatorError, match="sha256sum"):
        keys.revoke(account.deployed(TableName="sessions"), tokens.api_key())


def test_without_a_stack_the_error_says_what_to_do(account: StubbedAccount) -> None:
    with pytest.raises(OperatorError, match="make deploy"):
        keys.create(account.absent(), "acme")
