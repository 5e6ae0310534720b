from typing import Any

import pytest

from infra.ops import keys
from infra.ops.account import Deployment, OperatorError
from opensessions import tokens
from opensessions.aws.dynamodb import DynamoStore
from tests.infra.ops.conftest import StubbedAccount


def test_a_key_opens_its_account_and_only_its_hash_is_stored(
    account: StubbedAccount, table_client: Any
) -> None:
    account.real["dynamodb"] = table_client
    made = keys.create(account.deployed(TableName="sessions"), "acme")
    assert made.startswith("osb_")
    assert DynamoStore("sessions", table_client).account(tokens.sha256(made)) == "acme"
    assert made not in str(table_client.scan(TableName="sessions")["Items"])


def test_keys_are_rotated_by_a_second_one(account: StubbedAccount, table_client: Any) -> None:
    account.real["dynamodb"] = table_client
    deployment = account.deployed(TableName="sessions")
    old, new = keys.create(deployment, "acme"), keys.create(deployment, "acme")
    keys.revoke(deployment, tokens.sha256(old))
    store = DynamoStore("sessions", table_client)
    assert store.account(tokens.sha256(old)) is None
    assert store.account(tokens.sha256(new)) == "acme"
    with pytest.raises(OperatorError, match="no key"):
        keys.revoke(deployment, tokens.sha256(old))


@pytest.mark.parametrize("name", ["", "a#b", "x" * 65, "-a", "a b", "ä"])
def test_an_account_that_would_not_fit_into_a_key_is_refused(account: StubbedAccount, name: str) -> None:
    with pytest.raises(OperatorError, match="An account is"):
        keys.create(Deployment(account), name)


def test_the_key_itself_is_not_taken_for_its_hash(account: StubbedAccount) -> None:
    with pytest.raises(OperatorError, match="sha256sum"):
        keys.revoke(Deployment(account), tokens.api_key())


def test_without_a_stack_the_error_says_what_to_do(account: StubbedAccount) -> None:
    with pytest.raises(OperatorError, match="make deploy"):
        keys.create(account.absent(), "acme")
