"""One port for everything: a new connection is given to the preview proxy or to the API by its first
request's Host.

Later requests of the connection stay with whoever has it, and are answered 421 there if they are for the
other. Only requests for a path pass: absolute forms and CONNECT are refused here, so that this port is
nobody's proxy.
"""

import asyncio
import json
import re
from collections.abc import Callable
from typing import cast

from gateway.api_connection import HEAD_LIMIT, HEAD_SECONDS

_HOST = re.compile(rb"\r?\nhost:[ \t]*([^\r\n]*?)[ \t]*\r?\n", re.IGNORECASE)
_FOR_A_PATH = re.compile(rb"[A-Z]+ (?:/|\* )")
_REASON = "This is no proxy: send a request for a path, with a Host."
_BODY = json.dumps({"error": {"type": "invalid_request", "message": _REASON}})
_REFUSED = (
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
    f"Content-Length: {len(_BODY)}\r\n\r\n{_BODY}"
).encode()

Factory = Callable[[], asyncio.Protocol]


class Front(asyncio.Protocol):
    """Waits for the first head and hands the connection on, with all bytes that came."""

    def __init__(self, is_preview: Callable[[bytes], bool], previews: Factory, api: Factory) -> None:
        self._is_preview, self._previews, self._api = is_preview, previews, api
        self._read = bytearray()
        self._transport: asyncio.Transport
        self._late: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._late = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        self._read += data
        whole = b"\r\n\r\n" in self._read or b"\n\n" in self._read or len(self._read) > HEAD_LIMIT
        if not whole:
            return
        self._late.cancel()
        host = _HOST.search(self._read)
        if host and self._is_preview(host.group(1)):
            self._hand_to(self._previews())
        elif _FOR_A_PATH.match(self._read):
            self._hand_to(self._api())
        else:
            self._transport.write(_REFUSED)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._late.cancel()

    def _hand_to(self, protocol: asyncio.Protocol) -> None:
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(bytes(self._read))
