"""API keys: what a caller sends. The table holds nothing but their SHA-256."""

from datetime import UTC, datetime

from infra.ops.account import Deployment, OperatorError
from opensessions.access.keyring import Key, widest
from opensessions.access.keys import Keys, line
from opensessions.aws.audit import DynamoAudit
from opensessions.aws.keyring import DynamoKeyring
from opensessions.errors import OpenSessionsError


def create(
    deployment: Deployment, account: str, name: str = "default", scopes: str = "admin"
) -> tuple[str, Key]:
    """A new API key, which cannot be read again, and what is kept of it. Raises OperatorError."""
    try:
        return _keys(deployment).create(account, name, widest(scopes))
    except OpenSessionsError as error:
        raise OperatorError(str(error)) from None


def listed(deployment: Deployment, account: str) -> str:
    """The keys of an account, one on a line. Raises OperatorError."""
    try:
        keys = _keys(deployment).list(account)
    except OpenSessionsError as error:
        raise OperatorError(str(error)) from None
    return "\n".join(map(line, keys)) or f"{account} has no keys, or has them from an older version."


def revoke(deployment: Deployment, name: str) -> Key:
    """The key with this id or SHA-256 opens nothing from now on. Raises OperatorError when there is none."""
    try:
        return _keys(deployment).revoke(name)
    except OpenSessionsError:
        raise OperatorError(
            f"There is no key {name} in the table. A key is revoked by its id, which `make key ACCOUNT=… "
            'LIST=1` tells, or by its SHA-256; of a key at hand: printf %s "$KEY" | sha256sum'
        ) from None


def _keys(deployment: Deployment) -> Keys:
    name, client = deployment.output("TableName"), deployment.account.client("dynamodb")
    return Keys(DynamoKeyring(name, client), DynamoAudit(name, client), lambda: datetime.now(UTC))
