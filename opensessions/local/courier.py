"""Who runs webhooks' errands in a server that is one process: a few threads, and a look at the clock."""

import asyncio
import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

from opensessions.hooks import Errand
from opensessions.logbook import about

log = logging.getLogger(__name__)

THREADS = 8
LOOK_SECONDS = 1.0


class Courier:
    """Calls `run`, which blocks, in threads of its own; `look` sends what is due. What is cut off by the end
    of the server is found again by the next one.
    """

    def __init__(self, run: Callable[[Errand], None], look: Callable[[], None]) -> None:
        self._run, self._look = run, look
        self._errands: SimpleQueue[Errand | None] = SimpleQueue()
        self._waiting: set[Errand] = set()
        self._lock = Lock()
        self._closed = False
        for number in range(THREADS):
            # Daemons: a receiver that stalls is not to hold up the end of the server.
            Thread(target=self._work, name=f"courier-{number}", daemon=True).start()

    def send(self, errand: Errand, seconds: int) -> None:
        """A `hooks.Send`, from any thread. What is put off has a date in the store, where `look` finds it."""
        if seconds:
            return
        with self._lock:
            if errand in self._waiting or self._closed:
                return
            self._waiting.add(errand)
        self._errands.put(errand)

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
        with self._lock:
            self._closed = True
        for _ in range(THREADS):
            self._errands.put(None)

    def _work(self) -> None:
        while (errand := self._errands.get()) is not None and not self._closed:
            with self._lock:
                self._waiting.discard(errand)
            with about(errand.session_id):
                try:
                    self._run(errand)
                except Exception:
                    if not self._closed:
                        log.exception("a delivery of %s failed; the sweep finds it", errand.session_id)
