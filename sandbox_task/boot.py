"""How a sandbox that was launched with a ticket gets its token, so that none stands in its environment."""

import logging
from dataclasses import replace

import httpx2

from sandbox_task import gateway
from sandbox_task.gateway import PATIENT, Backoff, refuse
from sandbox_task.settings import Settings

log = logging.getLogger(__name__)


async def booted(given: Settings, backoff: Backoff = PATIENT) -> Settings:
    """`given` with its token, swapped for the ticket if it has one; tries until there is an answer.

    The ticket is good once: no tool that finds it later can do anything with it. Raises Revoked.
    """
    if not given.ticket:
        return given
    tries = 0
    async with gateway.client(given.gateway_url, given.ticket) as client:
        while True:
            try:
                answer = await client.post("/sandbox/v1/boot")
                refuse(answer.status_code)
                return replace(given, token=answer.raise_for_status().json()["token"], ticket="")
            except httpx2.HTTPError as error:
                log.info("The gateway is away (%s); trying again", type(error).__name__)
            await backoff.sleep(tries)
            tries += 1
