import json

import pytest
from botocore.exceptions import ClientError

from infra.ops import __main__ as ops
from infra.ops.account import Deployment
from tests.infra.ops.conftest import StubbedAccount


@pytest.fixture
def command(account: StubbedAccount, monkeypatch: pytest.MonkeyPatch) -> StubbedAccount:
    monkeypatch.setattr(ops, "Account", lambda: account)
    return account


def test_outputs_are_listed_by_name(command: StubbedAccount, capsys: pytest.CaptureFixture[str]) -> None:
    command.deployed(TableName="sessions", ApiUrl="https://example.com/")
    assert ops.main(["outputs"]) == 0
    assert capsys.readouterr().out == "ApiUrl     https://example.com/\nTableName  sessions\n"


def test_one_output_is_for_scripts(command: StubbedAccount, capsys: pytest.CaptureFixture[str]) -> None:
    command.deployed(TableName="sessions", ApiUrl="https://example.com/")
    assert ops.main(["outputs", "ApiUrl"]) == 0
    assert capsys.readouterr().out == "https://example.com/\n"


def test_outputs_as_json(command: StubbedAccount, capsys: pytest.CaptureFixture[str]) -> None:
    command.deployed(TableName="sessions")
    assert ops.main(["outputs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"TableName": "sessions"}


def test_an_unknown_output_is_told_with_the_known_ones(
    command: StubbedAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    command.deployed(TableName="sessions")
    assert ops.main(["outputs", "Table"]) == 1
    assert "has no output Table; it has: TableName" in capsys.readouterr().err


def test_another_stack_is_named_as_for_the_cdk(command: StubbedAccount) -> None:
    command.stub("cloudformation").add_client_error(
        "describe_stacks",
        "ValidationError",
        "Stack with id mine does not exist",
        expected_params={"StackName": "mine"},
    )
    assert ops.main(["outputs", "-c", "stack=mine"]) == 1


def test_what_aws_refuses_is_not_taken_for_a_missing_stack(account: StubbedAccount) -> None:
    account.stub("cloudformation").add_client_error("describe_stacks", "AccessDenied", "not authorized")
    with pytest.raises(ClientError, match="AccessDenied"):
        Deployment(account).output("TableName")
