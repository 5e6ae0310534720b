"""The workspace that a sandbox begins with."""

import asyncio

from opensessions.events import Assign
from sandbox_task.workspace.transfer import ArchiveFailed, Archives
from sandbox_task.workspace.versions import Versions, VersionsFailed


class NotBegun(Exception):
    """The workspace is not what it should be, and nobody must work in it; the text is for the user."""


class Beginner:
    """Brings what the assignment names."""

    def __init__(self, assign: Assign, store: Archives, versions: Versions) -> None:
        self._limit, self._beginning = assign.workspace_bytes, assign.beginning
        self._store, self._versions = store, versions

    async def fetch(self) -> None:
        """Unpack the archives, go to the version, forget what is to be forgotten. Raises NotBegun and
        Revoked; then the workspace is good for nothing.
        """
        beginning = self._beginning
        try:
            if beginning.sources:
                await self._store.fetch(beginning.sources, limit=self._limit)
            if beginning.commit is not None:
                await asyncio.to_thread(self._versions.checkout, beginning.commit)
            if beginning.fresh:
                await asyncio.to_thread(self._versions.forget)
        except (ArchiveFailed, VersionsFailed, OSError) as error:
            raise NotBegun(f"The workspace could not be brought back: {error}") from error
