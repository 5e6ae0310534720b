"""What is done between turns because the service asks for it: saving, sleeping, going back."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from opensessions import events
from opensessions.archives import Server
from opensessions.events import Hibernate, Restore, Save
from sandbox_task import processes
from sandbox_task.claude import Claude
from sandbox_task.keeping import Keeper
from sandbox_task.outbox import Put
from sandbox_task.site import Site
from sandbox_task.workspace.transfer import ArchiveFailed
from sandbox_task.workspace.versions import VersionsFailed

Item = Save | Hibernate | Restore
_LONG = 5.0
"""Seconds after which what cannot be ended is left alone."""


@dataclass(frozen=True)
class Errand:
    """An inbox item that waits among the turns."""

    seq: int
    item: Item


class Errands:
    """Each method ends with the workspace ready for a turn, whatever failed; failures become events, but for
    Revoked, which is raised.
    """

    def __init__(self, keeper: Keeper, site: Site, claude: Claude, put: Put) -> None:
        self._keeper, self._site, self._servers = keeper, site, site.servers
        self._claude, self._put = claude, put

    async def save(self, seq: int) -> None:
        """Make a full archive."""
        try:
            async with self._keeper.alone():
                await self._keeper.full(seq, self._claude.session_id)
        except ArchiveFailed as error:
            await self._put(events.Error(message=f"The workspace is not saved: {error}", code="save_failed"))

    async def hibernate(self, seq: int) -> bool:
        """Stop all that runs and make a full archive. True if the sandbox is to end; else all that listened
        runs again.
        """
        async with self._keeper.alone():
            seen = await self._quiet()
            try:
                if (await self._keeper.full(seq, self._claude.session_id, seen)).stop:
                    return True
            except ArchiveFailed as error:
                message = f"The session stays awake, because it cannot be archived: {error}"
                await self._put(events.Error(message=message, code="hibernate_failed"))
        await self._servers.start(seen)
        return False

    async def restore(self, seq: int, item: Restore) -> bool:
        """Go back to a version, with all that listens started again. False if that failed."""
        async with self._keeper.alone():
            await self._keeper.keep_waiting()
            seen = await self._quiet()
            try:
                await asyncio.to_thread(self._site.versions.checkout, item.commit)
            except VersionsFailed as error:
                await self._put(events.Error(message=str(error), code="restore_failed"))
                return False
            finally:
                await self._site.make_folders()
                await self._servers.start(seen)
            self._claude.session_id = item.claude_session_id
            self._keeper.went_back(item.commit, item.claude_session_id)
        await self._put(events.Restored(version=item.version, inbox_seq=seq))
        return True

    async def _quiet(self) -> list[Server]:
        """End the agent's program and everything that it started; what listened is the answer."""
        seen = await asyncio.to_thread(self._servers.seen)
        await self._claude.end()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONG):
                while not await asyncio.to_thread(processes.end_all):
                    await asyncio.sleep(0.02)
        return seen
