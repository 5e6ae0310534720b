"""Who runs webhooks' errands in a server that is one process: a few threads, and a look at the clock."""

import asyncio
import logging
from collections.abc import Callable
from threading import Condition, Thread

from opensessions.logbook import about
from opensessions.webhooks.hooks import Errand

log = logging.getLogger(__name__)

THREADS = 8
LOOK_SECONDS = 1.0


class Courier:
    """Calls `run`, which blocks, in threads of its own; `look` sends what is due. The errands of one webhook
    and session are run one after the other, in their order. What is cut off by the end of the server is found
    again by the next one.
    """

    def __init__(self, run: Callable[[Errand], None], look: Callable[[], None]) -> None:
        self._run, self._look = run, look
        self._waiting: dict[Errand, None] = {}
        self._busy: set[tuple[str, str]] = set()
        self._changed = Condition()
        self._closed = False
        for number in range(THREADS):
            # Daemons: a receiver that stalls is not to hold up the end of the server.
            Thread(target=self._work, name=f"courier-{number}", daemon=True).start()

    def send(self, errand: Errand, seconds: int) -> None:
        """A `hooks.Send`, from any thread. What is put off has a date in the store, where `look` finds it."""
        if seconds:
            return
        with self._changed:
            self._waiting.setdefault(errand)
            self._changed.notify_all()

    async def watch(self) -> None:
        """Look what is due, now and then, until it is cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._look)
            except Exception:
                log.exception("deliveries that are due could not be looked up; it is tried again")
            await asyncio.sleep(LOOK_SECONDS)

    def close(self) -> None:
        """Begin no errand any more. Waits for nobody."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while (errand := self._taken()) is not None:
            with about(errand.session_id):
                try:
                    self._run(errand)
                except Exception:
                    if not self._closed:
                        log.exception("a delivery of %s failed; the sweep finds it", errand.session_id)
            with self._changed:
                self._busy.discard(_pair(errand))
                self._changed.notify_all()

    def _taken(self) -> Errand | None:
        """The next errand that may be run, once there is one; None at the end."""
        with self._changed:
            while not self._closed:
                if errand := next((each for each in self._waiting if _pair(each) not in self._busy), None):
                    del self._waiting[errand]
                    self._busy.add(_pair(errand))
                    return errand
                self._changed.wait()
        return None


def _pair(errand: Errand) -> tuple[str, str]:
    return errand.hook_id, errand.session_id
