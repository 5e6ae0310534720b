"""The public application of one machine: streams and the API under one roof, for callers who name us
rightly.
"""

import asyncio
import json
import re
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_STREAM = re.compile(r"/v1/sessions/[^/]+/(events|files(/.*)?|archive)", re.DOTALL)
_BODY_SECONDS = 30.0


class PublicApp:
    """Sends `…/events`, `…/files` and `…/archive` to `streams` and the rest to `api`.

    A `Host` other than the loopback's own names is answered 421: a web page that rebinds its name to
    127.0.0.1 must not get an answer. A request body that takes longer than 30 s is given up.
    """

    def __init__(self, api: ASGIApp, streams: ASGIApp, port: int) -> None:
        self._api, self._streams = api, streams
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        hosts = [value.lower() for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            await _misdirected(send)
        elif _STREAM.fullmatch(scope["path"]):
            await self._streams(scope, receive, send)
        else:
            await self._api(scope, _in_time(receive), send)


def _in_time(receive: Receive) -> Receive:
    ended = False
    deadline = asyncio.get_running_loop().time() + _BODY_SECONDS

    async def receive_in_time() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            return {"type": "http.disconnect"}
        ended = not message.get("more_body", False)
        return message

    return receive_in_time


async def _misdirected(send: Send) -> None:
    error: dict[str, Any] = {
        "type": "invalid_request",
        "message": "This server does not answer to that Host.",
    }
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 421, "headers": headers})
    await send({"type": "http.response.body", "body": body})
