"""Secrets of Secrets Manager, read anew after a while: what is rotated there needs no deployment here."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx2
from botocore.exceptions import BotoCoreError, ClientError

log = logging.getLogger(__name__)

SECONDS = 60.0


class Secret:
    """One secret's string. A reading that fails leaves the last value in use."""

    def __init__(self, client: Any, secret_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._id, self._clock = client, secret_id, clock
        self._value, self._until = "", 0.0
        self._reading = asyncio.Lock()

    def read(self) -> str:
        """Its value now; blocks. Raises what the client raises."""
        value: str = self._client.get_secret_value(SecretId=self._id)["SecretString"]
        return value.strip()

    async def value(self) -> str:
        """Its value, about `SECONDS` old at most if it can be had. Nobody waits for a reading but who began
        it, or all while there is no value yet.
        """
        if self._value and self._reading.locked():
            return self._value
        async with self._reading:
            if self._clock() >= self._until:
                self._until = self._clock() + SECONDS
                try:
                    self._value = await asyncio.to_thread(self.read)
                except (BotoCoreError, ClientError) as error:
                    log.error("secret %s cannot be read (%s); the last value stays", self._id, error)
                    if not self._value:
                        self._until = 0.0
            return self._value


class KeyOfModel(httpx2.Auth):
    """Sends the secret as the model's API key."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.headers["x-api-key"] = await self._secret.value()
        yield request
