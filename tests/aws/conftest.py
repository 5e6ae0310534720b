from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from opensessions.aws.dynamodb import DynamoStore
from tests.aws.account import Account, account
from tests.contract import engines
from tests.contract.engines import DynamoEngine


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """With functions as processes. At the end their logs are searched for secrets."""
    with account(tmp_path_factory.mktemp("account")) as made:
        yield made


@pytest.fixture(scope="module")
def moto_client() -> Any:
    return engines.client()


@pytest.fixture
def engine(moto_client: Any) -> Iterator[DynamoEngine]:
    with mock_aws():
        yield DynamoEngine(moto_client, lock=True)


@pytest.fixture
def store(engine: DynamoEngine) -> DynamoStore:
    return engine.open()
