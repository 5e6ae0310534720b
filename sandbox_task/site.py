"""The workspace of an assignment: where it comes from, what is kept of it, and what runs in it."""

import asyncio

from opensessions import events
from sandbox_task import beneath
from sandbox_task.desk import Desk
from sandbox_task.environment import environment
from sandbox_task.workspace.servers import Servers
from sandbox_task.workspace.transfer import ArchiveFailed, Archives
from sandbox_task.workspace.versions import Versions, VersionsFailed


class NotBegun(Exception):
    """The workspace is not what it should be, and nobody must work in it; the text is for the user."""


class Site:
    """Raises ValueError where the assignment's folder is not in the workspace.

    Knows nothing of the agent, whose modules take their time to be loaded: what listened before is to answer
    again as soon as its files are there.
    """

    def __init__(self, assign: events.Assign, desk: Desk) -> None:
        root, around = desk.paths.root, desk.around
        self._assign, self._root, self._put = assign, root, desk.put
        self.cwd = desk.paths.inside(assign.cwd)
        self.folder = "/".join(self.cwd.relative_to(root).parts)
        self.store = Archives(desk.client, around.egress_url, desk.token, root)
        self.versions = Versions(root)
        tokens = [around.model_token, around.egress_token]
        agents = environment(assign, around, desk.paths)
        self.servers = Servers(root, desk.own, agents, tokens, self.cwd, assign.start_command)

    async def begin(self) -> None:
        """Unpack the archives, go to the version, forget what is to be forgotten, start what listened.

        Raises NotBegun and Revoked; then the workspace is good for nothing.
        """
        beginning = self._assign.beginning
        try:
            if beginning.sources:
                await self.store.fetch(beginning.sources, limit=self._assign.workspace_bytes)
            if beginning.commit is not None:
                await asyncio.to_thread(self.versions.checkout, beginning.commit)
            if beginning.fresh:
                await asyncio.to_thread(self.versions.forget)
        except (ArchiveFailed, VersionsFailed, OSError) as error:
            raise NotBegun(f"The workspace could not be brought back: {error}") from error
        await self.make_folders()
        if beginning.sources:
            await self.servers.start(beginning.servers)

    async def make_folders(self) -> None:
        """Make those that must be there; what cannot be made is said."""
        try:
            for folder in ("home", "agent", self.folder):
                if folder:
                    beneath.make_folder(self._root, folder)
        except (OSError, ValueError) as error:
            await self._put(
                events.Error(message=f"The workspace is not ready: {error}", code="workspace_failed")
            )
