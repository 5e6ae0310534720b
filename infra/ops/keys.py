"""API keys: what a caller sends. The table holds nothing but their SHA-256."""

import re

from infra.ops.account import Deployment, OperatorError
from opensessions import tokens
from opensessions.aws.dynamodb import DynamoStore

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


def create(deployment: Deployment, account: str) -> str:
    """A new API key of an account, which needs no other preparation. It cannot be read again."""
    if not _ACCOUNT.fullmatch(account):
        raise OperatorError(
            f"An account is 1 to 64 letters, digits, '-', '_' and '.', with one of the first two in front; "
            f"{account!r} is not."
        )
    key = tokens.api_key()
    _store(deployment).put_key(tokens.sha256(key), account)
    return key


def revoke(deployment: Deployment, key_hash: str) -> None:
    """The key with this SHA-256 opens nothing from now on. Raises OperatorError when there is none."""
    if not _HASH.fullmatch(key_hash):
        raise OperatorError(
            "A key is revoked by its SHA-256 in hex, which was printed with it; of a key at hand: "
            'printf %s "$KEY" | sha256sum'
        )
    if not _store(deployment).drop_key(key_hash):
        raise OperatorError(f"There is no key {key_hash} in the table.")


def _store(deployment: Deployment) -> DynamoStore:
    return DynamoStore(deployment.output("TableName"), deployment.account.client("dynamodb"))
