"""What the gateway tells the callback: each thing again, until it is heard."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

log = logging.getLogger(__name__)


async def tell(
    callback: httpx2.AsyncClient, path: str, body: Mapping[str, Any], what: str
) -> httpx2.Response | None:
    """The callback's answer; None when nobody answered, or not just now, so that it is to be told again.
    `what` is what the log calls it.
    """
    # ASCII alone: what sandboxes name may hold what UTF-8 cannot spell.
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    try:
        answer = await callback.post(path, content=content, headers=headers)
    except httpx2.HTTPError as error:
        log.warning("%s could not be told (%s)", what, type(error).__name__)
        return None
    if answer.status_code >= 500 or answer.status_code == 429:
        log.warning("%s could not be told (%s)", what, answer.status_code)
        return None
    if not answer.is_success:
        log.error("%s: the callback refused it (%s), so it is lost", what, answer.status_code)
    return answer


async def insist(
    callback: httpx2.AsyncClient, path: str, body: Mapping[str, Any], what: str, pauses: Sequence[float]
) -> httpx2.Response:
    """`tell`, again after each of `pauses` and then as often as the last one says, until it is answered."""
    number = 0
    while (answer := await tell(callback, path, body, what)) is None:
        await asyncio.sleep(pauses[min(number, len(pauses) - 1)])
        number += 1
    return answer
