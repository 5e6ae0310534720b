"""What the gateway saw of callers: told to the service, which keeps the record."""

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2
from starlette.requests import Request

from gateway.telling import tell
from opensessions.access.audit import Entry
from opensessions.access.recording import Seen, entry

log = logging.getLogger(__name__)

CALLBACK_PATH = "/callback/v1/sightings"
BATCH = 50
MOST = 10_000
"""Entries that wait; what comes while the service is away for long is lost, and that is logged."""
CALLER_IP = "x-caller-ip"
"""Written by the API's front, in place of whatever a caller sent under this name."""


class Sightings:
    """Tells the callback what belongs on the record, and which keys are used: many at a time, `soon` after
    they were seen, and again until it is heard. All methods belong to the event loop.
    """

    def __init__(
        self,
        callback: httpx2.AsyncClient,
        *,
        soon: float = 0.5,
        pause: float = 5.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._callback, self._soon, self._pause, self._clock = callback, soon, pause, clock
        self._entries: dict[tuple[str, str], Entry] = {}
        self._keys: set[str] = set()
        self._telling: asyncio.Task[None] | None = None

    async def saw(self, seen: Seen) -> None:
        """A request was answered, or begins to be. Does not wait for the service."""
        now, key = self._clock(), seen.caller.api_key
        if key and seen.result != 401 and key.stale(now):
            self._keys.add(key.hash)
        if made := entry(seen, now):
            if len(self._entries) >= MOST:
                log.error("the record lacks an entry: %s others wait", MOST)
            else:
                self._entries.setdefault((made.account, made.position), made)
        if (self._entries or self._keys) and self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="sightings")

    async def aclose(self, within: float = 5.0) -> None:
        """Tell what is not told, within so many seconds."""
        if self._telling:
            self._soon = self._pause = 0.1
            _, late = await asyncio.wait((self._telling,), timeout=within)
            for task in late:
                task.cancel()
                log.error("the record lacks %s entries: the service could not be told", len(self._entries))
            await asyncio.gather(*late, return_exceptions=True)

    async def _tell(self) -> None:
        pause = self._soon
        try:
            while self._entries or self._keys:
                await asyncio.sleep(pause)
                names, keys = list(self._entries)[:BATCH], sorted(self._keys)[:BATCH]
                entries = [self._entries[name].model_dump(mode="json") for name in names]
                pause = self._pause
                told = {"entries": entries, "keys": keys}
                if await tell(self._callback, CALLBACK_PATH, told, "what was seen of callers") is not None:
                    pause = self._soon
                    self._keys.difference_update(keys)
                    for name in names:
                        del self._entries[name]
        finally:
            self._telling = None


def operation(request: Request) -> str:
    """What the API calls a request of the gateway, as in its description."""
    _, _, rest = request.url.path.partition("/v1/sessions/")
    kind, _, path = rest.partition("/")[2].partition("/")
    if kind == "files":
        return "list_files" if not path else "write_file" if request.method == "PUT" else "read_file"
    return {"events": "stream_events", "archive": "download_files"}.get(kind, request.method)


def origin(request: Request) -> str | None:
    """Where a request came from: whom the load balancer was asked by, if one is there; and if that was our
    own front, whom it says it was asked by.
    """
    peer = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if not peer:
        return request.client.host if request.client else None
    told = request.headers.get(CALLER_IP, "").strip()
    return told if _private(peer) and _address(told) else peer if _address(peer) else None


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _private(text: str) -> bool:
    return _address(text) and ipaddress.ip_address(text).is_private
