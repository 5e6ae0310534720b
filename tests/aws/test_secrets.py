"""Keys that are rotated in Secrets Manager reach the model without a deployment."""

from collections.abc import Iterator
from typing import Any

import boto3
import httpx2
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from opensessions.aws.secrets import SECONDS, KeyOfModel, Secret


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def store() -> Any:
    made = boto3.client(
        "secretsmanager", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    made.create_secret(Name="model", SecretString="first\n")
    return made


@pytest.fixture
def secrets() -> Iterator[Any]:
    with mock_aws():
        yield store()


async def test_a_rotated_key_is_used_within_a_minute(secrets: Any) -> None:
    time = Time()
    secret = Secret(secrets, "model", time)
    sent: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.headers["x-api-key"])
        return httpx2.Response(200)

    model = httpx2.AsyncClient(transport=httpx2.MockTransport(answer), auth=KeyOfModel(secret))
    async with model:
        await model.get("http://model")
        secrets.put_secret_value(SecretId="model", SecretString="second")
        await model.get("http://model")
        time.now += SECONDS
        await model.get("http://model")
    assert sent == ["first", "first", "second"]


async def test_a_secret_that_cannot_be_read_for_a_while_stays_as_it_was() -> None:
    answers: list[str | None] = ["kept", None, None]

    class Away:
        def get_secret_value(self, SecretId: str) -> dict[str, str]:
            if (value := answers.pop(0)) is None:
                raise ClientError({"Error": {"Code": "InternalServiceError"}}, "GetSecretValue")
            return {"SecretString": value}

    time = Time()
    secret = Secret(Away(), "model", time)
    for _ in range(3):
        assert await secret.value() == "kept"
        time.now += SECONDS
