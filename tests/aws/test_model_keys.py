"""Accounts' own model keys in Secrets Manager."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from gateway.model_upstream import KeyAway
from opensessions.aws.model_keys import OwnKeys, SecretModelKeys, secret_name
from opensessions.errors import Conflict

PREFIX = "opensessions/model-keys/"
KEY = "sk-ant-canary-of-a-model-key"


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client(
            "secretsmanager", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )


class Refusing:
    """A client whose every call fails in one way, and counts."""

    def __init__(self, code: str) -> None:
        self.code, self.calls = code, 0

    def __getattr__(self, operation: str) -> Any:
        def call(**_: object) -> None:
            self.calls += 1
            raise ClientError({"Error": {"Code": self.code, "Message": "no"}}, operation)

        return call


async def test_a_key_is_put_replaced_and_deleted(client: Any) -> None:
    keys = SecretModelKeys(client, PREFIX)
    assert keys.since("acme") is None
    keys.drop("acme")
    for key in (KEY, KEY[::-1]):
        keys.put("acme", key)
        assert await OwnKeys(client, PREFIX)("acme") == key
    assert await OwnKeys(client, PREFIX)("globex") is None
    since = keys.since("acme")
    assert since and abs((datetime.now(UTC) - since).total_seconds()) < 60
    (secret,) = client.list_secrets()["SecretList"]
    assert secret["Name"] == secret_name(PREFIX, "acme") and "acme" not in secret["Name"]
    keys.drop("acme")
    assert keys.since("acme") is None
    assert await OwnKeys(client, PREFIX)("acme") is None
    keys.put("acme", KEY)
    assert await OwnKeys(client, PREFIX)("acme") == KEY


def test_a_key_that_is_just_being_deleted_can_be_put_later() -> None:
    refusing = Refusing("InvalidRequestException")
    with pytest.raises(Conflict, match="try again"):
        SecretModelKeys(refusing, PREFIX).put("acme", KEY)
    SecretModelKeys(refusing, PREFIX).drop("acme")
    with pytest.raises(ClientError):
        SecretModelKeys(Refusing("AccessDeniedException"), PREFIX).put("acme", KEY)


async def test_a_key_and_the_lack_of_one_are_remembered_for_a_minute(client: Any) -> None:
    now = 0.0
    keys, own = SecretModelKeys(client, PREFIX), OwnKeys(client, PREFIX, lambda: now)
    assert await own("acme") is None
    keys.put("acme", KEY)
    now = 59
    assert await own("acme") is None
    now = 61
    assert await asyncio.gather(*(own("acme") for _ in range(5))) == [KEY] * 5
    keys.drop("acme")
    now = 119
    assert await own("acme") == KEY
    now = 122
    assert await own("acme") is None


async def test_what_was_read_stays_while_nothing_can_be_read(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    SecretModelKeys(client, PREFIX).put("acme", KEY)
    own = OwnKeys(client, PREFIX, lambda: now)
    assert await own("acme") == KEY
    refusing = Refusing("AccessDeniedException")
    own._client = refusing
    now = 61
    assert await asyncio.gather(*(own("acme") for _ in range(5))) == [KEY] * 5
    assert refusing.calls == 1
    with pytest.raises(KeyAway):
        await own("globex")
    assert KEY not in caplog.text
