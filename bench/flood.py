"""Runs inside a sandbox instead of the worker: a peaceful one that says something now and then, or a hostile
one that floods the gateway, each of its doors in a way of its own.

It is started by its text alone. Its work is the session's prompt, a JSON object: `kinds`, names of `WORK`,
and `rate`, the events a second of a peaceful one. It begins when the first follow-up comes, and goes on until
it is ended. A peaceful one's events have `sent`, the time (time.time) just before they were posted.
"""

import asyncio
import base64
import json
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass

sys.path.append("/opt/opensessions")

import httpx2

from opensessions.events import Assign, Message
from opensessions.handshake import derived_token
from sandbox_task import gateway
from sandbox_task.door import Door
from sandbox_task.inbox import Inbox
from sandbox_task.settings import first_line

EVENTS, INBOX, MODEL = "/sandbox/v1/events", "/sandbox/v1/inbox", "/v1/messages"
CHUNK = b"x" * 65536


@dataclass
class Sandbox:
    client: httpx2.AsyncClient
    token: str
    rate: float


def event(text: str, **more: object) -> dict[str, object]:
    message = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, **more}


async def post(here: Sandbox, first: int, *events: dict[str, object]) -> int:
    answer = await here.client.post(EVENTS, json={"first_seq": first, "events": events})
    return answer.status_code


async def peace(here: Sandbox) -> None:
    started = time.monotonic()
    for number in range(1, 1_000_000):
        await asyncio.sleep(started + number / here.rate - time.monotonic())
        said = event("A sentence or two of an agent that says what it does. " * 3, sent=time.time())
        while await post(here, number, said) != 200:
            await asyncio.sleep(0.02)


async def events(here: Sandbox) -> None:
    """As large as they may be, sent again at once whatever the answer is."""
    batch = [event("x" * 25_000) for _ in range(10)]

    async def one() -> None:
        number = 1
        while True:
            number += 10 if await post(here, number, *batch) == 200 else 0

    await many(8, one)


async def posts(here: Sandbox) -> None:
    """Tiny ones, and the same again and again."""
    await many(16, lambda: post(here, 1, event("x")))


async def inbox(here: Sandbox) -> None:
    async def one() -> None:
        async with here.client.stream("GET", INBOX) as answer:
            async for _ in answer.aiter_raw():
                return

    await many(16, one)


async def calls(here: Sandbox, words: str = "1") -> None:
    """Model calls, as short as they can be."""
    asked = [{"role": "user", "content": f"say {words} words"}]
    body = {"model": "claude-sonnet-4-5", "max_tokens": 4000, "stream": True, "messages": asked}
    headers = {"x-api-key": derived_token(here.token, "model")}

    async def one() -> None:
        await here.client.post(MODEL, json=body, headers=headers)

    await many(8, one)


async def deltas(here: Sandbox) -> None:
    await calls(here, "2000")


async def egress(here: Sandbox) -> None:
    """Hosts that are refused, and connections that never ask."""
    path = os.environ["EGRESS_URL"].removeprefix("unix:")
    shown = base64.b64encode(f"sandbox:{derived_token(here.token, 'egress')}".encode()).decode()
    head = f"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {shown}\r\n\r\n".encode()

    async def one() -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(head)
        await reader.read()
        writer.close()

    idle = [await asyncio.open_unix_connection(path) for _ in range(100)]
    await many(32, one)
    del idle


async def preview(here: Sandbox) -> None:
    """An app whose answer has no end."""

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")
        while True:
            writer.write(CHUNK)
            await writer.drain()

    async with await asyncio.start_server(app, "127.0.0.1", 3000) as server:
        await server.serve_forever()


async def spin(here: Sandbox) -> None:
    """Nothing but work for the processors: what of the rest is not the gateway's doing."""
    for _ in range(2):
        multiprocessing.get_context("fork").Process(target=forever, daemon=True).start()
    await asyncio.sleep(3600)


def forever() -> None:
    while True:
        pass


async def many(count: int, work) -> None:
    """So many at a time, again and again, whatever becomes of them."""

    async def again() -> None:
        while True:
            try:
                await work()
            except (httpx2.HTTPError, OSError):
                await asyncio.sleep(0.01)

    await asyncio.gather(*(again() for _ in range(count)))


WORK = {work.__name__: work for work in (peace, events, posts, inbox, calls, deltas, egress, preview, spin)}


async def main() -> None:
    token = json.loads(first_line(0))["token"]
    async with gateway.client(os.environ["GATEWAY_URL"], token) as client:
        door, work = Door(set()), {}
        await door.listen(int(os.environ["DOOR_FD"]), None)
        async for _, item in Inbox(client).items():
            if isinstance(item, Assign):
                work, door.key = json.loads(item.prompt), item.door_key
            elif isinstance(item, Message):
                break
        if work["kinds"] != ["peace"]:
            os.nice(10)  # as all sandboxes have on one machine; the peaceful ones shall not feel that
        here = Sandbox(client, token, work["rate"])
        await asyncio.gather(*(WORK[kind](here) for kind in work["kinds"]))


asyncio.run(main())
