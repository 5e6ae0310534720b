"""The files of a session whose sandbox does not run: its newest archive is read."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from gateway.archive_scan import Listed, Scan
from gateway.file_bodies import Body, Broken, Content, Entry, Listing, beyond, later
from gateway.live_files import NOTHING
from opensessions.errors import NotFound
from opensessions.models import Session
from opensessions.ports import BlobStore
from sandbox_task.workspace.paths import MOST_LISTED, Unsatisfiable, hidden, is_plain, span

AT_ONCE = 4
"""Archives that this process reads at once: each takes the memory of one part."""
GONE = "This session's files are gone: none were kept, or the time for which they are kept is over."
_MOST_TIME = 253_402_300_799_999
T = TypeVar("T")


class ArchivedFiles:
    """Everything raises NotFound where there is no archive (any more), and HTTPException (503) when `AT_ONCE`
    are being read, when one is damaged, or when what is asked for is not found in it within `seconds`.
    """

    def __init__(self, blobs: BlobStore, *, seconds: float = 60.0) -> None:
        self._blobs, self._seconds = blobs, seconds
        self._threads = ThreadPoolExecutor(AT_ONCE, "archives")
        self._reading = 0

    async def listing(self, session: Session, names: Sequence[str]) -> Listing:
        """What is in a folder. Raises NotFound."""
        with self._slot() as slot:
            try:
                found = await slot.run(lambda: _folder(self._scan(session), "/".join(names)))
            except Broken:
                raise later("the session's archive cannot be read", 60) from None
        if found is None:
            raise NotFound(NOTHING)
        entries = [
            Entry(name, kind, size, min(max(modified * 1000, 0), _MOST_TIME))
            for name, (kind, size, modified) in sorted(found.items())
        ]
        return Listing(entries[:MOST_LISTED], len(entries) > MOST_LISTED)

    async def content(self, session: Session, names: Sequence[str], wanted: str, tag: str) -> Content:
        """A file, or of it what a `Range` wants, if the tag is the file's or empty. Raises NotFound, and
        HTTPException (416).
        """
        path = "/".join(names)
        with self._slot(keep=True) as slot:
            scan, listed = await self._found(slot, session, path)
            own = hashlib.sha256(f"{session.archives[-1].id} {path}".encode()).hexdigest()[:32]
            try:
                part = span(wanted if tag in ("", own) else "", listed.size)
            except Unsatisfiable:
                raise beyond(listed.size) from None
            body = await self._begun(slot, scan.file(listed, part.start, part.stop))
            return Content(part, listed.size, own, body)

    async def archive(self, session: Session) -> Body:
        """A .tar.gz of the user's files."""
        with self._slot(keep=True) as slot:
            scan = await slot.run(lambda: self._scan(session))
            return await self._begun(slot, scan.users())

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _scan(self, session: Session) -> Scan:
        scan = Scan(self._blobs, session.id, session.archives[-1]) if session.archives else None
        if scan is None or not scan.open():
            raise NotFound(GONE)
        return scan

    async def _found(self, slot: "_Slot", session: Session, path: str) -> tuple[Scan, Listed]:
        def find() -> tuple[Scan, Listed | None]:
            scan = self._scan(session)
            return scan, next((each for each in scan.listing() if each.path == path), None)

        try:
            scan, listed = await slot.run(find)
        except Broken:
            raise later("the session's archive cannot be read", 60) from None
        if listed is None or listed.kind != "file" or listed.size < 0:
            raise NotFound(NOTHING)
        return scan, listed

    async def _begun(self, slot: "_Slot", steps: Iterator[bytes]) -> Body:
        """A body whose first bytes are there, so that it can still be refused."""
        body = _Body(slot, steps)
        try:
            async with asyncio.timeout(self._seconds):
                body.first = await body.next()
        except FileNotFoundError:
            raise NotFound(NOTHING) from None
        except Broken:
            raise later("the session's archive cannot be read", 60) from None
        except TimeoutError:
            raise later("this lies too deep in the session's archive", 60) from None
        return body

    @contextmanager
    def _slot(self, keep: bool = False) -> Iterator["_Slot"]:
        """A place among those that read; with `keep`, it stays taken when all goes well."""
        if self._reading >= AT_ONCE:
            raise later("many archives are being read at the moment")
        self._reading += 1
        slot = _Slot(self._threads, self._free)
        try:
            yield slot
        except BaseException:
            slot.close()
            raise
        if not keep:
            slot.close()

    def _free(self) -> None:
        self._reading -= 1


class _Slot:
    """One reader. It is free again once it is closed and its thread has come back."""

    def __init__(self, threads: ThreadPoolExecutor, free: Callable[[], None]) -> None:
        self._threads, self._free = threads, free
        self._loop = asyncio.get_running_loop()
        self._running: Future[object] | None = None
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Do something in the thread. Who is cancelled does not wait for it."""
        running: Future[T] = self._threads.submit(work)
        self._running = running  # type: ignore[assignment]
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        """Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._running is None or self._running.done():
            self._free()
        else:
            self._running.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._free))


class _Body:
    """The bytes of an iterator, step by step in a thread: none is busy while the client is slow."""

    def __init__(self, slot: _Slot, steps: Iterator[bytes]) -> None:
        self._slot, self._steps = slot, steps
        self.first: bytes | None = None

    async def next(self) -> bytes:
        if self.first is not None:
            first, self.first = self.first, None
            return first
        while (data := await self._slot.run(lambda: next(self._steps, None))) is not None:
            if data:
                return data
        return b""

    def close(self) -> None:
        self._slot.close()


def _folder(scan: Scan, path: str) -> dict[str, tuple[str, int, int]] | None:
    """What is in a folder: kind, size and time by name. None when there is no such folder."""
    there, found = not path, dict[str, tuple[str, int, int]]()
    for each in scan.listing():
        folder, _, name = each.path.rpartition("/")
        if each.path == path:
            there = there or each.kind == "folder"
        elif folder == path and is_plain(each.path) and not hidden((each.path,)):
            size = max(each.size, 0) if each.kind == "file" else 0
            found.setdefault(name, (each.kind, size, each.modified))
    return found if there else None
