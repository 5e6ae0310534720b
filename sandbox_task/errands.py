"""What is done between turns because the service asks for it: saving, sleeping, going back."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from opensessions import events
from opensessions.events import Hibernate, Restore, Save
from sandbox_task import processes
from sandbox_task.claude import Claude
from sandbox_task.keeping import Keeper
from sandbox_task.outbox import Put
from sandbox_task.workspace.servers import Servers
from sandbox_task.workspace.transfer import ArchiveFailed
from sandbox_task.workspace.versions import Versions, VersionsFailed

Item = Save | Hibernate | Restore
_LONG = 5.0


@dataclass(frozen=True)
class Errand:
    """An inbox item that waits among the turns."""

    seq: int
    item: Item


class Errands:
    """Each method ends with the workspace ready for a turn, whatever failed; failures become events, but for
    Revoked, which is raised.
    """

    def __init__(
        self, keeper: Keeper, versions: Versions, servers: Servers, claude: Claude, put: Put
    ) -> None:
        self._keeper, self._versions, self._servers = keeper, versions, servers
        self._claude, self._put = claude, put

    async def save(self, seq: int) -> None:
        """Make a full archive."""
        try:
            await self._keeper.full(seq, self._claude.session_id)
        except ArchiveFailed as error:
            await self._put(events.Error(message=f"The workspace is not saved: {error}", code="save_failed"))

    async def hibernate(self, seq: int) -> bool:
        """Stop all that runs and make a full archive. True if the sandbox is to end; else all that listened
        runs again.
        """
        seen = await asyncio.to_thread(self._servers.seen)
        await self._quiet()
        try:
            if (await self._keeper.full(seq, self._claude.session_id, seen)).stop:
                return True
        except ArchiveFailed as error:
            message = f"The session stays awake, because it cannot be archived: {error}"
            await self._put(events.Error(message=message, code="hibernate_failed"))
        await self._servers.start(seen)
        return False

    async def restore(self, seq: int, item: Restore, ready: Callable[[], Awaitable[None]]) -> bool:
        """Go back to a version, with all that listens started again. False if that failed. `ready` makes the
        folders that must be there.
        """
        async with self._keeper.going_back():
            seen = await asyncio.to_thread(self._servers.seen)
            await self._quiet()
            try:
                await asyncio.to_thread(self._versions.checkout, item.commit)
            except VersionsFailed as error:
                await self._put(events.Error(message=str(error), code="restore_failed"))
                return False
            finally:
                await ready()
                await self._servers.start(seen)
            self._claude.session_id = item.claude_session_id
            self._keeper.went_back(item.commit, item.claude_session_id)
        await self._put(events.Restored(version=item.version, inbox_seq=seq))
        return True

    async def _quiet(self) -> None:
        """End the agent's program and everything that it started."""
        await self._claude.end()
        async with asyncio.timeout(_LONG):
            while not await asyncio.to_thread(processes.end_all):
                await asyncio.sleep(0.02)
