"""An account whose clients are botocore's own, answering what a test put in (Stubber), or moto's."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from moto import mock_aws

from infra.ops.account import Account, Deployment
from opensessions.aws.table import create_table

STACK = "opensessions"


class StubbedAccount(Account):
    """Clients with a stub answer from it alone, in order; those of `real` go to moto."""

    def __init__(self) -> None:
        super().__init__("us-east-1")
        self.stubs: dict[str, Stubber] = {}
        self.real: dict[str, Any] = {}
        self._clients: dict[str, Any] = {}

    def stub(self, name: str) -> Stubber:
        if name not in self.stubs:
            self._clients[name] = boto3.client(
                name, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
            )
            self.stubs[name] = Stubber(self._clients[name])
            self.stubs[name].activate()
        return self.stubs[name]

    def client(self, name: str) -> Any:
        if name in self.real:
            return self.real[name]
        self.stub(name)
        return self._clients[name]

    def deployed(self, status: str = "CREATE_COMPLETE", **outputs: str) -> Deployment:
        """The deployment of a stack with these outputs."""
        stack = {
            "StackName": STACK,
            "StackStatus": status,
            "CreationTime": "2026-11-24T00:00:00Z",
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
        }
        self.stub("cloudformation").add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": STACK})
        return Deployment(self, STACK)

    def absent(self) -> Deployment:
        """No stack at all."""
        self.stub("cloudformation").add_client_error(
            "describe_stacks", "ValidationError", f"Stack with id {STACK} does not exist"
        )
        return Deployment(self, STACK)


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's AWS settings is used."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def account() -> Iterator[StubbedAccount]:
    made = StubbedAccount()
    yield made
    for stub in made.stubs.values():
        stub.assert_no_pending_responses()


@pytest.fixture
def table_client() -> Iterator[Any]:
    """moto's DynamoDB with our table in it, under the name "sessions"."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        create_table(client, "sessions")
        yield client
