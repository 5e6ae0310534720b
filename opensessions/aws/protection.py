"""Keeps ECS from stopping a gateway task in the middle of something, to scale in or to deploy."""

import asyncio
import logging
from collections.abc import Callable

import httpx2

log = logging.getLogger(__name__)

EVERY = 15.0
MINUTES = 30


class Protection:
    """Tells the agent of ECS at `agent_uri` (its `ECS_AGENT_URI`) whether `busy()`; when that changes, and
    again before a protection runs out.
    """

    def __init__(self, agent_uri: str, busy: Callable[[], bool]) -> None:
        self._url = f"{agent_uri}/task-protection/v1/state"
        self._busy = busy
        self._told: bool | None = False
        self._age = 0.0

    async def keep(self) -> None:
        """Runs until it is cancelled."""
        async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
            while True:
                await self.tell(client)
                await asyncio.sleep(EVERY)

    async def tell(self, client: httpx2.AsyncClient) -> None:
        """Tell the agent if there is something to tell. A failure is logged, and tried again."""
        busy = self._busy()
        self._age += EVERY
        if busy == self._told and not (busy and self._age > MINUTES * 30):
            return
        body = {"ProtectionEnabled": busy} | ({"ExpiresInMinutes": MINUTES} if busy else {})
        try:
            (await client.put(self._url, json=body)).raise_for_status()
            self._told, self._age = busy, 0.0
        except httpx2.HTTPError as error:
            log.warning("the task's protection could not be changed: %s", type(error).__name__)
