"""The gateway's side of archives, in memory."""

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

from opensessions.archives import Archived, Kept, Source

_PART = re.compile(r"/sandbox/v1/archives/([0-9a-f]{32})/parts/(\d+)")
_WHOLE = re.compile(r"/sandbox/v1/archives/([0-9a-f]{32})")


class FakeArchives:
    """`kept` are the archives by id, in the order in which they became durable. `verdict` says what is
    answered to one; a status that `refusal` names is the answer to everything.
    """

    def __init__(self) -> None:
        self.parts: dict[tuple[str, int], bytes] = {}
        self.kept: dict[str, Archived] = {}
        self.refusal: int | None = None
        self.verdict: Callable[[Archived], Kept] = self._version

    def _version(self, archived: Archived) -> Kept:
        turns = [turn for one in self.kept.values() for turn in one.turns]
        return Kept(version=len(turns) if archived.turns else None)

    @property
    def versions(self) -> list[Archived]:
        return [archived for archived in self.kept.values() if archived.turns]

    def sources(self, *, newest: str | None = None) -> list[Source]:
        """What to begin from: the newest full archive, and the newest of all."""
        ids = list(self.kept)
        full = [name for name in ids if self.kept[name].kind == "full"][-1:]
        wanted = dict.fromkeys([*full, newest or ids[-1]])
        return [
            Source(id=name, kind=of.kind, parts=of.parts, bytes=of.bytes, files=of.files)
            for name, of in ((name, self.kept[name]) for name in wanted)
        ]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body that answer a request."""
        if self.refusal is not None:
            return self.refusal, json.dumps({"error": {"message": "Refused by the test."}}).encode()
        if (found := _PART.fullmatch(path)) is not None:
            return self._part(method, path, (found[1], int(found[2])), body)
        found = _WHOLE.fullmatch(path)
        assert found is not None and method == "POST"
        archived = Archived.model_validate_json(body)
        for number, part in enumerate(archived.parts):
            assert hashlib.sha256(self.parts[found[1], number]).hexdigest() == part.sha256
        self.kept[found[1]] = archived
        return 200, self.verdict(archived).model_dump_json().encode()

    def _part(self, method: str, path: str, key: tuple[str, int], body: bytes) -> tuple[int, bytes]:
        if method == "POST":
            said: dict[str, Any] = json.loads(body)
            return 200, json.dumps({"url": f"{path}?size={said['size']}&sha256={said['sha256']}"}).encode()
        if method == "PUT":
            self.parts[key] = body
            return 204, b""
        return (200, self.parts[key]) if key in self.parts else (404, b"{}")
