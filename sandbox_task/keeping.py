"""What is kept of a workspace while the agent works: a version for each turn, and archives."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from opensessions import archives, events
from opensessions.archives import MOST_CHANGES, MOST_DIFF, MOST_TURNS, Kept, Server
from sandbox_task.outbox import Put
from sandbox_task.site import Site
from sandbox_task.workspace.transfer import ArchiveFailed
from sandbox_task.workspace.versions import VersionsFailed

_TEXT = 2000


@dataclass(frozen=True)
class _Mark:
    """A state worth an archive, and the turns since the last archive that led to it."""

    commit: str | None
    claude_session_id: str | None
    turns: tuple[archives.Turn, ...] = ()


class Keeper:
    """One archive is made at a time; where turns are quicker, the next one has several of them. `run` must
    run for anything to be kept after turns. `limit` is the most bytes of a workspace.
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
        turn = archives.Turn(
            message_id=message_id, text=text[:_TEXT], commit=commit, claude_session_id=claude_session_id
        )
        before = self._waiting.turns if self._waiting else ()
        self._waiting = _Mark(commit, claude_session_id, (*before, turn)[-MOST_TURNS:])
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
        turns = self._waiting.turns if self._waiting else ()
        return await self._archive(_Mark(commit, claude_session_id, turns), seq, servers)

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
        turns = self._waiting.turns if self._waiting else ()  # those that could not be kept
        self._waiting = _Mark(commit, claude_session_id, turns)
        self._news.set()

    async def _archive(self, mark: _Mark, seq: int = 0, servers: Sequence[Server] | None = None) -> Kept:
        await asyncio.to_thread(self._versions.tidy)
        if servers is None:
            servers = await asyncio.to_thread(self._servers.seen)
        kept = await self._store.save(
            "full" if seq else "light",
            limit=self._limit,
            commit=mark.commit,
            claude_session_id=mark.claude_session_id,
            servers=servers,
            turns=await self._told(mark.turns),
            inbox_seq=seq,
        )
        self._is_kept(mark)
        return kept

    def _is_kept(self, mark: _Mark) -> None:
        """Forget what waited, but for the turns that were over since."""
        commits = [turn.commit for turn in mark.turns if turn.commit is not None]
        self._since = commits[-1] if commits else self._since
        waiting = self._waiting.turns if self._waiting else ()
        left = tuple(turn for turn in waiting if turn not in mark.turns)
        self._waiting = replace(self._waiting, turns=left) if self._waiting and left else None

    async def _told(self, turns: Sequence[archives.Turn]) -> list[archives.Turn]:
        """The turns, each with what it changed."""
        told: list[archives.Turn] = []
        since = self._since
        for turn in turns:
            if turn.commit is not None:
                told.append(await self._changed(turn, since, turn.commit, share=len(turns)))
                since = turn.commit
            else:
                told.append(turn)
        return told

    async def _changed(
        self, turn: archives.Turn, since: str | None, commit: str, share: int
    ) -> archives.Turn:
        """A turn with what it changed; `share` of them tell it in the room of one."""
        try:
            found = await asyncio.to_thread(self._versions.difference, since, commit)
        except VersionsFailed:
            return turn
        files, diff = found.files[: MOST_CHANGES // share], found.diff[: MOST_DIFF // share]
        return turn.model_copy(update={"files": files, "changed": found.changed, "diff": diff})

    async def _commit(self, message: str) -> str | None:
        """The commit of the workspace as it is; None where there can be none: archives work without."""
        try:
            return await asyncio.to_thread(self._versions.commit, message)
        except VersionsFailed as error:
            await self._put(events.Error(message=str(error), code="version_failed"))
            return None
