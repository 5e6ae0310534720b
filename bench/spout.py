"""Runs inside a sandbox instead of the worker: a source of events at a steady rate, which carry their time.

It is started by its text alone. Its work is the session's prompt, a JSON object: `rate` events a second,
`count` in all, and `batch`: so many in one POST, or 0 to give them to the worker's own outbox, which decides
itself when to send. It begins when the first follow-up comes. Each event has the number `n` and `sent`, the
time (time.time) just before it was posted or put into the outbox.
"""

import asyncio
import json
import os
import sys
import time

sys.path.append("/opt/opensessions")

import httpx2

from opensessions.events import Assign, Assistant, EventBatch, Message
from sandbox_task import gateway
from sandbox_task.inbox import Inbox
from sandbox_task.outbox import Outbox
from sandbox_task.payloads import Secrets
from sandbox_task.settings import first_line


def event(number: int) -> Assistant:
    text = "A sentence or two of an agent that says what it does, as agents like to do. " * 2
    message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    return Assistant(message=message, n=number, sent=time.time())


async def main() -> None:
    token = json.loads(first_line(0))["token"]
    async with gateway.client(os.environ["GATEWAY_URL"], token) as client:
        work: dict[str, float] = {}
        async for _, item in Inbox(client).items():
            if isinstance(item, Assign):
                work = json.loads(item.prompt)
            elif isinstance(item, Message):
                break
        pause, count = 1 / work["rate"], int(work["count"])
        if batch := int(work["batch"]):
            await post(client, count, batch, pause)
        else:
            await put(Outbox(client, Secrets([token])), count, pause)
        await asyncio.sleep(3600)


async def post(client, count: int, batch: int, pause: float) -> None:
    started = time.monotonic()
    for first in range(1, count + 1, batch):
        await asyncio.sleep(started + first * pause - time.monotonic())
        body = EventBatch(first_seq=first, events=[event(first + more) for more in range(batch)])
        text = body.model_dump_json(exclude_none=True)
        while not await taken(client, text):
            await asyncio.sleep(0.02)


async def taken(client, body: str) -> bool:
    """Post a batch. Sent again it is not stored again, and its events keep their time: a fault counts."""
    headers = {"Content-Type": "application/json"}
    try:
        answer = await client.post("/sandbox/v1/events", content=body, headers=headers)
    except httpx2.TransportError:
        return False
    if answer.status_code not in (200, 503):
        sys.exit(f"The gateway answered {answer.status_code}: {answer.text}")
    return answer.status_code == 200


async def put(outbox: Outbox, count: int, pause: float) -> None:
    sending = asyncio.create_task(outbox.run())
    started = time.monotonic()
    for number in range(1, count + 1):
        await asyncio.sleep(started + number * pause - time.monotonic())
        await outbox.put(event(number))
    await sending


asyncio.run(main())
