"""How a sandbox that was launched with a ticket gets its token, so that none stands in its environment."""

import logging
import secrets
from dataclasses import replace

import httpx2

from sandbox_task import gateway
from sandbox_task.gateway import PATIENT, Backoff, refuse
from sandbox_task.settings import Settings

log = logging.getLogger(__name__)


async def booted(given: Settings, backoff: Backoff = PATIENT) -> Settings:
    """`given` with its token, swapped for the ticket if it has one; tries until there is an answer that
    arrives whole. Raises Revoked.

    The ticket is good once: no tool that finds it later can do anything with it. A nonce, known here alone,
    tells the gateway that the same worker asks again.
    """
    if not given.ticket:
        return given
    tries, nonce = 0, {"Boot-Nonce": secrets.token_hex(32)}
    async with gateway.client(given.gateway_url, given.ticket) as client:
        while True:
            try:
                answer = await client.post("/sandbox/v1/boot", headers=nonce)
                refuse(answer.status_code)
                return replace(given, token=answer.raise_for_status().json()["token"], ticket="")
            except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
                log.info("The gateway gave no token (%s); asking again", type(error).__name__)
            await backoff.sleep(tries)
            tries += 1
