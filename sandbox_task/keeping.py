"""What is kept of a workspace while the agent works: a version for each turn, and archives."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from opensessions import archives, events
from opensessions.archives import Kept, Server
from sandbox_task.outbox import Put
from sandbox_task.site import Site
from sandbox_task.workspace.transfer import ArchiveFailed
from sandbox_task.workspace.versions import VersionsFailed

_TEXT = 2000


@dataclass(frozen=True)
class _Mark:
    """A state worth an archive; `turn` is None where none made it."""

    commit: str | None
    claude_session_id: str | None
    turn: archives.Turn | None = None


class Keeper:
    """One archive is made at a time; meanwhile only the newest state waits for the next. `run` must run for
    anything to be kept after turns. `limit` is the most bytes of a workspace.

    A version's changes are those since the version before it that was kept, so that nothing is lost where
    turns are quicker than archives.
    """

    def __init__(self, site: Site, limit: int, put: Put) -> None:
        self._store, self._versions, self._servers = site.store, site.versions, site.servers
        self._limit, self._put = limit, put
        self._since: str | None = None
        self._waiting: _Mark | None = None
        self._news = asyncio.Event()
        self._alone = asyncio.Lock()
        self._failure = ""

    async def began(self, fresh: bool) -> None:
        """The workspace is there, for the first turn to begin. `fresh`: without a history of its own."""
        if fresh:
            self._since = await self._commit("The beginning")
        else:
            self._since = await asyncio.to_thread(self._versions.present)

    async def turned(self, message_id: str | None, text: str, claude_session_id: str | None) -> None:
        """A turn is over, and the next waits until this returns: the version is made by then, an archive
        soon.
        """
        commit = await self._commit(text or "A turn of the agent's own")
        turn = archives.Turn(message_id=message_id, text=text[:_TEXT])
        self._waiting = _Mark(commit, claude_session_id, turn)
        self._news.set()

    async def run(self) -> None:
        """Make light archives of what is worth one, for ever. Raises Revoked."""
        while True:
            await self._news.wait()
            self._news.clear()
            async with self._alone:
                await self.keep_waiting()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Meanwhile no archive is made but by whoever is in here."""
        async with self._alone:
            yield

    async def full(
        self, seq: int, claude_session_id: str | None, servers: Sequence[Server] | None = None
    ) -> Kept:
        """Make a full archive, which inbox item `seq` asked for; what waited is kept by it, too. `servers`
        listened, if they do no more. Only `alone`. Raises ArchiveFailed and Revoked.
        """
        commit = await self._commit("Between two turns")
        turn = self._waiting.turn if self._waiting else None
        return await self._archive(_Mark(commit, claude_session_id, turn), seq, servers)

    async def keep_waiting(self) -> None:
        """Make the light archive that waits, if one does; a failure is said. Only `alone`. Raises Revoked."""
        mark = self._waiting
        if mark is None:
            return
        try:
            await self._archive(mark)
            self._failure = ""
        except ArchiveFailed as error:
            # Once for each reason: the next turn tries again, and most likely fails like this one.
            if str(error) != self._failure:
                self._failure = str(error)
                await self._put(
                    events.Error(message=f"The version is not kept: {error}", code="archive_failed")
                )

    def went_back(self, commit: str, claude_session_id: str | None) -> None:
        """The workspace is as it was at `commit`; an archive of that is made soon."""
        self._since = commit
        self._waiting = _Mark(commit, claude_session_id)
        self._news.set()

    async def _archive(self, mark: _Mark, seq: int = 0, servers: Sequence[Server] | None = None) -> Kept:
        before = self._waiting
        await asyncio.to_thread(self._versions.tidy)
        if servers is None:
            servers = await asyncio.to_thread(self._servers.seen)
        kept = await self._store.save(
            "full" if seq else "light",
            limit=self._limit,
            commit=mark.commit,
            claude_session_id=mark.claude_session_id,
            servers=servers,
            turn=await self._told(mark),
            inbox_seq=seq,
        )
        if self._waiting is before:
            self._waiting = None
        if mark.turn is not None and mark.commit is not None:
            self._since = mark.commit
        return kept

    async def _told(self, mark: _Mark) -> archives.Turn | None:
        """The turn with what it changed."""
        if mark.turn is None or mark.commit is None:
            return mark.turn
        try:
            found = await asyncio.to_thread(self._versions.difference, self._since, mark.commit)
        except VersionsFailed:
            return mark.turn
        changes = {"files": found.files, "changed": found.changed, "diff": found.diff}
        return mark.turn.model_copy(update=changes)

    async def _commit(self, message: str) -> str | None:
        """The commit of the workspace as it is; None where there can be none: archives work without."""
        try:
            return await asyncio.to_thread(self._versions.commit, message)
        except VersionsFailed as error:
            await self._put(events.Error(message=str(error), code="version_failed"))
            return None
