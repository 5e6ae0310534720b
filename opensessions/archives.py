"""The wire contract of archives: how a workspace leaves a sandbox, and how it comes into the next one.

An archive is a tar, compressed by zstd, cut into parts of at most `PART_BYTES`. A sandbox makes up an id for
it and asks, part by part, where to put it:

    POST /sandbox/v1/archives/<id>/parts/<number>   {"size", "sha256"}  →  {"url"}
    PUT  <url>                                      the bytes           →  2xx
    POST /sandbox/v1/archives/<id>                  Archived            →  Kept

and the other way round, `GET /sandbox/v1/archives/<id>/parts/<number>` is answered with the bytes, or with a
307 to where they are. An address that begins with `/` is the gateway's own; any other is reached by way of
the egress proxy, with no header of ours but `CHECKSUM`, the SHA-256 in base 64, at a PUT. Parts are numbered
from 0; `LISTING` is the number under which the listing goes. Nothing of an archive counts until its
`Archived` was answered; then it is durable.

Like `opensessions.events`, which it belongs to, this module goes into the sandbox.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

CHECKSUM = "x-amz-checksum-sha256"
PART_BYTES = 16 * 2**20
"""The most that one part may have."""
MOST_PARTS = 256
LISTING = MOST_PARTS
"""The listing's place among the parts: zstd over one JSON array `[path, kind, size, mtime]` a line, the kind
one of `f`, `d`, `l` (file, folder, link); paths are relative to the workspace."""
MOST_FILES = 200_000
MOST_TURNS = 50
MOST_CHANGES = 500
MOST_DIFF = 300_000
WORKSPACE_BYTES = 2 * 10**9
"""What a workspace may have unpacked, unless a session says otherwise."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
ArchiveId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Path = Annotated[str, Field(max_length=4096)]


class Part(BaseModel):
    size: int = Field(ge=0, le=PART_BYTES)
    sha256: Sha256


class Server(BaseModel):
    """What listened on a port, so that it can be started again: its command, its folder (relative to the
    workspace) and what its environment had beside the agent's.
    """

    port: int = Field(ge=1024, le=65535)
    command: list[Path] = Field(min_length=1, max_length=64)
    cwd: Path = ""
    environment: dict[str, Path] = Field(default={}, max_length=64)


class Change(BaseModel):
    """A file that a turn made, changed or took away."""

    path: Path
    change: Literal["added", "modified", "deleted"]


class Turn(BaseModel):
    """A turn that was over when the archive was made; with a `commit`, its state in the version history, it
    is a version. `files` are the first few of what changed, `changed` their number, `diff` its text as git
    has it (cut, if it is long).
    """

    message_id: str | None = Field(default=None, max_length=64)
    text: str = Field(default="", max_length=2000)
    commit: Commit | None = None
    claude_session_id: str | None = Field(default=None, max_length=64)
    files: list[Change] = Field(default=[], max_length=MOST_CHANGES)
    changed: int = Field(default=0, ge=0)
    diff: str = Field(default="", max_length=MOST_DIFF)


class Archived(BaseModel):
    """An archive that is complete. `bytes` and `files` are what it holds unpacked.

    A "full" one holds all but caches; a "light" one also leaves out what can be installed anew. `commit` is
    the state of the version history, which is in it. `turns` are those since the last archive, in order.
    `inbox_seq` is the item that asked for it, 0 for one that was made after a turn.
    """

    v: int = 1
    kind: Literal["full", "light"]
    parts: list[Part] = Field(min_length=1, max_length=MOST_PARTS)
    listing: Part
    bytes: int = Field(ge=0)
    files: int = Field(ge=0, le=MOST_FILES)
    commit: Commit | None = None
    claude_session_id: str | None = Field(default=None, max_length=64)
    servers: list[Server] = Field(default=[], max_length=16)
    turns: list[Turn] = Field(default=[], max_length=MOST_TURNS)
    inbox_seq: int = Field(default=0, ge=0)


class Kept(BaseModel):
    """The archive is durable. `version` is the number of its newest turn's, if that is one; `stop` tells the
    sandbox to end, because the session sleeps now.
    """

    version: int | None = None
    stop: bool = False


class Source(BaseModel):
    """An archive to begin with. Where there are several, each is unpacked over those before it, once what a
    light one covers has been removed.
    """

    id: ArchiveId
    kind: Literal["full", "light"]
    parts: list[Part]
    bytes: int
    files: int


class Beginning(BaseModel):
    """What a sandbox has before its first turn. `commit` is the version to go back to once all is unpacked;
    None leaves the workspace as it is. `fresh` forgets the versions and the conversation.
    """

    sources: list[Source] = []
    commit: Commit | None = None
    claude_session_id: str | None = None
    servers: list[Server] = []
    fresh: bool = False
