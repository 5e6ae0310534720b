"""Tells of refused hosts, but not of each attempt: programs try again and again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

OnRefused = Callable[[str, str, str], None]

WINDOW = 60.0
HOSTS_PER_WINDOW = 20
SESSIONS = 4096


class Refusals:
    """Calls `on_refused(session_id, host, reason)` once a host and minute, for at most 20 hosts a session and
    minute, whatever a sandbox tries."""

    def __init__(self, on_refused: OnRefused, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_refused = on_refused
        self._clock = clock
        self._told: OrderedDict[str, dict[str, float]] = OrderedDict()

    def tell(self, session_id: str, host: str, reason: str) -> None:
        now = self._clock()
        told = {h: at for h, at in self._told.pop(session_id, {}).items() if at > now - WINDOW}
        self._told[session_id] = told
        if len(self._told) > SESSIONS:
            self._told.popitem(last=False)
        if host not in told and len(told) < HOSTS_PER_WINDOW:
            told[host] = now
            self._on_refused(session_id, host, reason)
