"""Accounts' own keys of the model in the cloud: a secret of Secrets Manager for each, below one prefix."""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from opensessions.access import tokens
from opensessions.access.model_keys import KeyAway
from opensessions.errors import Conflict

log = logging.getLogger(__name__)

SECONDS = 60.0
MOST = 10_000
"""Accounts whose key, or whose lack of one, is remembered."""


def secret_name(prefix: str, account: str) -> str:
    return prefix + tokens.sha256(account)[:32]


class SecretModelKeys:
    """A `model_keys.ModelKeys`. It can write keys, and cannot read them."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def put(self, account: str, key: str) -> None:
        name = secret_name(self._prefix, account)
        try:
            self._write(name, account, key)
        except ClientError as error:
            if _code(error) != "InvalidRequestException":
                raise
            reason = "The account's former key is just being deleted; try again in a minute."
            raise Conflict(reason) from None

    def drop(self, account: str) -> None:
        name = secret_name(self._prefix, account)
        try:
            self._client.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
        except ClientError as error:
            if _code(error) not in ("ResourceNotFoundException", "InvalidRequestException"):
                raise

    def since(self, account: str) -> datetime | None:
        try:
            found = self._client.describe_secret(SecretId=secret_name(self._prefix, account))
        except ClientError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
            return None
        if "DeletedDate" in found:
            return None
        since: datetime = found.get("LastChangedDate") or found["CreatedDate"]
        return since.astimezone(UTC)

    def _write(self, name: str, account: str, key: str) -> None:
        try:
            self._client.put_secret_value(SecretId=name, SecretString=key)
            return
        except ClientError as error:
            if _code(error) != "ResourceNotFoundException":
                raise
        about = f"opensessions: the model key of the account {account}"
        try:
            self._client.create_secret(Name=name, SecretString=key, Description=about)
        except ClientError as error:
            if _code(error) != "ResourceExistsException":
                raise
            self._client.put_secret_value(SecretId=name, SecretString=key)


class OwnKeys:
    """A `gateway.model_upstream.OwnKey`. What was read is used for `SECONDS`, and longer while nothing can be
    read. Belongs to the event loop.
    """

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._prefix, self._clock = client, prefix, clock
        self._held: dict[str, tuple[str | None, float]] = {}
        self._reading: dict[str, asyncio.Task[str | None]] = {}

    async def __call__(self, account: str) -> str | None:
        held = self._held.get(account)
        if held and self._clock() < held[1]:
            return held[0]
        if account not in self._reading:
            reading = asyncio.get_running_loop().create_task(self._renewed(account))
            self._reading[account] = reading
            reading.add_done_callback(lambda _: self._reading.pop(account))
        return await asyncio.shield(self._reading[account])

    async def _renewed(self, account: str) -> str | None:
        try:
            key = await asyncio.to_thread(self._read, account)
        except (BotoCoreError, ClientError) as error:
            log.error("the model key of an account cannot be read (%s)", _reason(error))
            if account not in self._held:
                raise KeyAway from None
            key = self._held[account][0]
        if len(self._held) >= MOST:
            self._held.clear()
        self._held[account] = (key, self._clock() + SECONDS)
        return key

    def _read(self, account: str) -> str | None:
        name = secret_name(self._prefix, account)
        try:
            value: str = self._client.get_secret_value(SecretId=name)["SecretString"]
        except ClientError as error:
            # One that is being deleted is there, and cannot be read.
            if _code(error) not in ("ResourceNotFoundException", "InvalidRequestException"):
                raise
            return None
        return value


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _reason(error: Exception) -> str:
    return _code(error) if isinstance(error, ClientError) else type(error).__name__
