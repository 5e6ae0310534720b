"""What the service says to the sandbox, read for ever."""

import logging
from collections.abc import AsyncIterator

import httpx2
from pydantic import ValidationError

from opensessions.events import InboxItem, inbox_item
from sandbox_task.gateway import PATIENT, Backoff, refuse

log = logging.getLogger(__name__)
_SILENCE = 45.0
"""Seconds without a ping after which the connection counts as dead."""


class Inbox:
    """Items in order, each once, over as many connections as it takes."""

    def __init__(self, client: httpx2.AsyncClient, backoff: Backoff = PATIENT) -> None:
        self._client = client
        self._backoff = backoff
        self.after = 0

    async def items(self) -> AsyncIterator[tuple[int, InboxItem]]:
        """Each item with its number, and those that have none (0) whenever they are said. Ends never; raises
        Revoked. An item of a newer wire is skipped.
        """
        tries = 0
        while True:
            try:
                async for number, data in self._frames():
                    tries = 0
                    if 0 < number <= self.after:
                        continue
                    self.after = max(self.after, number)
                    if (item := _parsed(number, data)) is not None:
                        yield number, item
            except httpx2.HTTPError as error:
                log.info("The inbox is away (%s); trying again", type(error).__name__)
            await self._backoff.sleep(tries)
            tries += 1

    async def _frames(self) -> AsyncIterator[tuple[int, str]]:
        """The numbered frames of one connection."""
        timeout = httpx2.Timeout(10.0, read=_SILENCE)
        params = {"after": self.after}
        async with self._client.stream("GET", "/sandbox/v1/inbox", params=params, timeout=timeout) as answer:
            refuse(answer.status_code)
            answer.raise_for_status()
            number, data = "", []
            async for line in answer.aiter_lines():
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "id":
                    number = value
                elif name == "data":
                    data.append(value)
                elif not line:
                    if number.isdigit() and data:
                        yield int(number), "\n".join(data)
                    number, data = "", []


def _parsed(number: int, data: str) -> InboxItem | None:
    try:
        return inbox_item.validate_json(data)
    except ValidationError as error:
        log.warning("Inbox item %d is not understood (%d problems)", number, error.error_count())
        return None
