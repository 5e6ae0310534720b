"""Archives of the workspace, made and sent away, or fetched and unpacked."""

import asyncio
import logging
import uuid
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Literal

import httpx2

from opensessions.archives import (
    LISTING,
    MOST_FILES,
    MOST_PARTS,
    WORKSPACE_BYTES,
    Archived,
    Kept,
    Part,
    Server,
    Source,
    Turn,
)
from sandbox_task.gateway import PATIENT, Backoff
from sandbox_task.workspace.bounds import readable
from sandbox_task.workspace.courier import Courier
from sandbox_task.workspace.processes import ArchiveFailed, Packing, Unpacking

__all__ = ["ArchiveFailed", "Archives"]
log = logging.getLogger(__name__)


class Archives:
    """Makes archives of the workspace `root` and unpacks them. The work is done in throw-away processes and
    threads; at most two parts are in memory. `client` is the gateway's, `egress_url` an http URL.

    Methods raise ArchiveFailed, with a sentence for the user, and Revoked when the sandbox is over.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        egress_url: str,
        token: str,
        root: Path,
        backoff: Backoff = PATIENT,
        tries: int = 8,
    ) -> None:
        self._root = root
        self._courier = partial(Courier, client, egress_url, token, backoff, tries)

    async def save(
        self,
        kind: Literal["full", "light"],
        *,
        limit: int = WORKSPACE_BYTES,
        commit: str | None = None,
        claude_session_id: str | None = None,
        servers: Sequence[Server] = (),
        turns: Sequence[Turn] = (),
        inbox_seq: int = 0,
    ) -> Kept:
        """Archive the workspace as it is, with at most `limit` bytes in its files. It is durable on return.

        What changes meanwhile is in the archive as it was or as it is then.
        """
        place = f"/sandbox/v1/archives/{uuid.uuid4().hex}"
        async with self._courier() as courier:
            with closing(Packing(self._root, kind, limit)) as packing:
                parts = await _stored(courier, place, packing)
                packed = await asyncio.to_thread(packing.packed)
            if packed.skipped:
                log.warning("An archive lacks %d files that cannot be read", packed.skipped)
            archived = Archived(
                kind=kind,
                parts=parts,
                listing=await courier.store(f"{place}/parts/{LISTING}", packed.listing),
                bytes=packed.size,
                files=packed.files,
                commit=commit,
                claude_session_id=claude_session_id,
                servers=list(servers),
                turns=list(turns),
                inbox_seq=inbox_seq,
            )
            return await courier.told(place, archived, Kept)

    async def fetch(self, sources: Sequence[Source], *, limit: int = WORKSPACE_BYTES) -> None:
        """Unpack archives into the workspace, in this order. After a failure it is good for nothing.

        No byte is unpacked that was not stored so: each part is checked first.
        """
        async with self._courier() as courier:
            for source in sources:
                _check(source, limit)
                with closing(Unpacking(self._root, source)) as unpacking:
                    await _unpacked(courier, source, unpacking)
                    await asyncio.to_thread(unpacking.end)


def _check(source: Source, limit: int) -> None:
    if source.bytes > limit:
        raise ArchiveFailed(
            f"The archive holds {readable(source.bytes)}, and the workspace may hold {readable(limit)}."
        )
    if not source.parts or source.files > MOST_FILES:
        raise ArchiveFailed(f"The archive is none: it has {len(source.parts)} parts, {source.files:,} files.")


async def _stored(courier: Courier, place: str, packing: Packing) -> list[Part]:
    """Store part by part; the next one is made while one is on its way."""
    parts: list[Part] = []
    following = asyncio.ensure_future(asyncio.to_thread(packing.part))
    try:
        while part := await following:
            if len(parts) == MOST_PARTS:
                raise ArchiveFailed(f"The archive has more than {MOST_PARTS} parts.")
            following = asyncio.ensure_future(asyncio.to_thread(packing.part))
            parts.append(await courier.store(f"{place}/parts/{len(parts)}", part))
    finally:
        following.cancel()
    return parts


async def _unpacked(courier: Courier, source: Source, unpacking: Unpacking) -> None:
    """Unpack part by part, until the process takes no more; the next one comes while one is unpacked."""

    def coming(number: int) -> "asyncio.Future[memoryview]":
        path = f"/sandbox/v1/archives/{source.id}/parts/{number}"
        return asyncio.ensure_future(courier.fetched(path, source.parts[number]))

    following = coming(0)
    try:
        for number in range(1, len(source.parts) + 1):
            part = await following
            if number < len(source.parts):
                following = coming(number)
            if not await asyncio.to_thread(unpacking.take, part):
                return
    finally:
        following.cancel()
