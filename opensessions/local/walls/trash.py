"""What sandboxes leave behind, deleted in the background.

Emptying a large workspace takes seconds, for which neither the end of a sandbox nor its next start waits.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

log = logging.getLogger(__name__)

_PATIENCE = 2.0


class Trash:
    """Deletes folders, one after the other. `empty` deletes all that is in one; it blocks. What is left when
    it is closed is for the next server to find.
    """

    def __init__(self, empty: Callable[[Path], None]) -> None:
        self._empty = empty
        self._folders: SimpleQueue[Path | None] = SimpleQueue()
        self._closed = Event()
        self._thread = Thread(target=self._run, name="sandbox-trash", daemon=True)
        self._thread.start()

    def add(self, folders: Iterable[Path]) -> None:
        """Have folders deleted in which nothing runs any more. From any thread; does not wait."""
        for folder in folders:
            self._folders.put(folder)

    def close(self) -> None:
        """Begin with no other folder, and wait a moment for the one that is being emptied. Idempotent."""
        self._closed.set()
        self._folders.put(None)
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while (folder := self._folders.get()) is not None and not self._closed.is_set():
            try:
                self._delete(folder)
            except Exception as error:
                if not self._closed.is_set():
                    log.warning("%s could not be deleted: %s", folder, error)

    def _delete(self, folder: Path) -> None:
        try:
            folder.rmdir()  # many are empty, and need none of the care
        except OSError:
            self._empty(folder)
            folder.rmdir()
