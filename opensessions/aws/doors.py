"""Where sandboxes are reached: the sessions that previews ask for, remembered for a moment."""

import time
from collections import OrderedDict
from collections.abc import Callable

from opensessions.models import Session

SECONDS = 1.0
KEPT = 4096

Find = Callable[[str], Session | None]


class Doors:
    """Previews look a session up for each request; most of these are for the parts of one page. A session
    that ended is noticed within `SECONDS`.
    """

    def __init__(self, find: Find, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._find, self._port, self._clock = find, port, clock
        self._known: OrderedDict[str, tuple[float, Session]] = OrderedDict()

    def find(self, sandbox_id: str) -> Session | None:
        """The session of a sandbox. Blocks when it was not asked for just now."""
        known = self._known.get(sandbox_id)
        if known and self._clock() < known[0]:
            return known[1]
        session = self._find(sandbox_id)
        if session:
            self._known[sandbox_id] = self._clock() + SECONDS, session
            self._known.move_to_end(sandbox_id)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return session

    def dial(self, sandbox_id: str, port: int) -> tuple[str, int]:
        """The door of a sandbox that `find` was asked for. Raises ConnectionRefusedError until it booted."""
        known = self._known.get(sandbox_id)
        if known is None or known[1].address is None or not known[1].live:
            raise ConnectionRefusedError(f"Sandbox {sandbox_id} has no address (yet).")
        return known[1].address, self._port
