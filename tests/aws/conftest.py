from collections.abc import Iterator

import pytest

from tests.aws.account import Account, account


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """With functions as processes. At the end their logs are searched for secrets."""
    with account(tmp_path_factory.mktemp("account")) as made:
        yield made
