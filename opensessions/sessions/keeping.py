"""Archives of sessions: which are kept, what a sandbox begins with, and how one becomes another session's."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime

from opensessions.archives import LISTING, Archived, Beginning, Source
from opensessions.errors import Conflict
from opensessions.models import Archive, Session, Version
from opensessions.ports import BlobStore

MANIFEST = "manifest"


def folder(session_id: str) -> str:
    """The prefix of all blobs of a session."""
    return f"sessions/{session_id}"


def archives_of(session_id: str) -> str:
    """The prefix of a session's archives."""
    return f"{folder(session_id)}/archives"


def place(session_id: str, archive_id: str) -> str:
    """The prefix of an archive's parts, listing and manifest."""
    return f"{archives_of(session_id)}/{archive_id}"


def diff_place(session_id: str, version: int) -> str:
    return f"{folder(session_id)}/versions/{version}.diff"


def kept(archives: Sequence[Archive]) -> tuple[Archive, ...]:
    """What is kept of a session's archives: the newest two, and the newest full one, because it alone has
    what was installed.
    """
    return _with_the_full_one(archives, archives[-2:])


def needed(archives: Sequence[Archive]) -> tuple[Archive, ...]:
    """Those to come back from: the newest, over the newest full one where it is a light one."""
    return _with_the_full_one(archives, archives[-1:])


def _with_the_full_one(archives: Sequence[Archive], newest: Sequence[Archive]) -> tuple[Archive, ...]:
    full = [archive for archive in archives if archive.kind == "full"][-1:]
    return (*(archive for archive in full if archive not in newest), *newest)


class Keeper:
    """What is behind the session's own record of its archives: blobs. Blocking and thread-safe."""

    def __init__(self, blobs: BlobStore, clock: Callable[[], datetime]) -> None:
        self._blobs, self._clock = blobs, clock

    def checked(self, session: Session, archive_id: str, archived: Archived) -> Archive:
        """The archive, once it is sure that all of it is there. Raises Conflict naming what is missing."""
        prefix = place(session.id, archive_id)
        parts = {**dict(enumerate(archived.parts)), LISTING: archived.listing}
        for number, part in parts.items():
            if self._blobs.size(f"{prefix}/{number}") != part.size:
                raise Conflict(f"Part {number} of the archive is not there as announced; send it again.")
        if archived.bytes > session.limits.workspace_bytes:
            raise Conflict(f"The workspace is over its {session.limits.workspace_bytes} bytes.")
        manifest = archived.model_dump_json(exclude={"turns"})
        self._blobs.put(f"{prefix}/{MANIFEST}", manifest.encode())
        return Archive(
            id=archive_id,
            kind=archived.kind,
            size=sum(part.size for part in parts.values()) + len(manifest),
            bytes=archived.bytes,
            files=archived.files,
            version=session.version,
            created_at=self._clock(),
        )

    def keep_diff(self, session_id: str, version: int, diff: str) -> None:
        self._blobs.put(diff_place(session_id, version), diff.encode())

    def diff(self, session_id: str, version: int) -> str:
        """A version's diff, as it was kept; empty where nothing changed."""
        return (self._blobs.get(diff_place(session_id, version)) or b"").decode()

    def beginning(self, session: Session, back: Version | None = None) -> Beginning:
        """What the next sandbox of a session begins with; `back` is the version to go back to then."""
        sources = [(archive, self.manifest(session.id, archive.id)) for archive in needed(session.archives)]
        if not sources:
            return Beginning()
        newest, manifest = sources[-1]
        # A light one may have been packed while the next turn wrote already.
        commit = newest.commit or (manifest.commit if newest.kind == "light" else None)
        conversation = newest.claude_session_id or manifest.claude_session_id
        if back is not None:
            commit, conversation = back.commit, back.claude_session_id
        return Beginning(
            sources=[_source(archive, of) for archive, of in sources],
            commit=commit,
            claude_session_id=None if newest.fresh else conversation,
            servers=manifest.servers,
            fresh=newest.fresh,
        )

    def manifest(self, session_id: str, archive_id: str) -> Archived:
        """What was said of an archive. Raises Conflict when it is gone."""
        found = self._blobs.get(f"{place(session_id, archive_id)}/{MANIFEST}")
        if found is None:
            raise Conflict("The session's archive is gone.")
        return Archived.model_validate(json.loads(found))

    def copy(self, source: str, target: str) -> None:
        """Copy an archive to another prefix. Raises Conflict when it was thrown away meanwhile."""
        self._blobs.copy(source, target)
        manifest = self._blobs.get(f"{target}/{MANIFEST}")
        there = set(self._blobs.names(target))
        parts = len(Archived.model_validate_json(manifest).parts) if manifest else 1
        if not there >= {*map(str, range(parts)), str(LISTING), MANIFEST}:
            self._blobs.delete(target)
            raise Conflict("The archive was replaced by a newer one just now; try again.")

    def copy_diffs(self, source_id: str, target_id: str) -> None:
        """Give a session the diffs of another's versions."""
        self._blobs.copy(f"{folder(source_id)}/versions", f"{folder(target_id)}/versions")

    def drop(self, prefix: str) -> None:
        """Delete what lies beneath a prefix, for good."""
        self._blobs.delete(prefix)

    def unkept(self, session: Session) -> list[str]:
        """The archives that are there and that a session does not keep: older ones, and those that were begun
        and never became one. One that is being made at the moment is among them.
        """
        keeping = {archive.id for archive in session.archives}
        return [name for name in self._blobs.names(archives_of(session.id)) if name not in keeping]

    def let_go(self, session_id: str, archive_ids: Sequence[str]) -> None:
        """Delete archives of a session."""
        for archive_id in archive_ids:
            self._blobs.delete(place(session_id, archive_id))


def _source(archive: Archive, manifest: Archived) -> Source:
    return Source(
        id=archive.id,
        kind=archive.kind,
        parts=manifest.parts,
        bytes=archive.bytes,
        files=archive.files,
    )
