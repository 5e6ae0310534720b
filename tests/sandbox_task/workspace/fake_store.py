"""A gateway that keeps archives, and the egress proxy with a store behind it, with faults at will."""

import base64
import hashlib
import json
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from opensessions.archives import Archived, Kept, Part, Source

STORE = "http://store.test/bucket"
PROXY_TOKEN = "egress-token"
_BASIC = "Basic " + base64.b64encode(f"sandbox:{PROXY_TOKEN}".encode()).decode()
Fault = int | str


@dataclass
class FakeStore:
    """`faults` are used up one a request, by what is asked for ("ask", "put", "finish", "get"): a status;
    "cut" to hang up in the middle, "drop" to act and hang up; "other" or "long" to send something else.
    Where parts are kept: "gateway", or "store", which is reached by the proxy.
    """

    where: str = "gateway"
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    parts: dict[str, bytes] = field(default_factory=dict)
    announced: dict[str, Part] = field(default_factory=dict)
    archives: dict[str, Archived] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    kept: Kept = field(default_factory=lambda: Kept(version=3))
    problems: list[str] = field(default_factory=list)

    def source(self, number: int = -1) -> Source:
        """An archive to begin with, as the service says it."""
        name, archived = list(self.archives.items())[number]
        return Source(id=name, **archived.model_dump(include={"kind", "parts", "bytes", "files"}))

    def whole(self, number: int = -1) -> bytes:
        """An archive's bytes."""
        name, archived = list(self.archives.items())[number]
        return b"".join(
            self.parts[f"/sandbox/v1/archives/{name}/parts/{n}"] for n in range(len(archived.parts))
        )

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if message["type"] == "http.disconnect":
                return
        path, method = scope["path"], scope["method"]
        outside = headers["host"] == "store.test"
        if outside:
            self._from_outside(headers)
            path = path.removeprefix("/bucket")
        elif headers.get("authorization") != "Bearer worker-token":
            self.problems.append(f"{method} {path} without the worker's token")
        kind = "ask" if "/parts/" in path else "finish"
        kind = {"PUT": "put", "GET": "get"}.get(method, kind)
        self.counts[kind] += 1
        fault = self.faults[kind].popleft() if self.faults[kind] else None
        if isinstance(fault, int):
            error = {"error": {"message": "refused by the test"}}
            await _reply(send, fault, json.dumps(error).encode(), [(b"retry-after", b"0")])
            return
        status, answer, extra = getattr(self, f"_{kind}")(outside, path, headers, body)
        await _faulty(send, fault, status, answer, extra)

    def _from_outside(self, headers: dict[str, str]) -> None:
        if headers.get("proxy-authorization") != _BASIC:
            self.problems.append("the proxy was not told who asks")
        if "authorization" in headers:
            self.problems.append("the worker's token went out")

    def _ask(self, outside: bool, path: str, headers: Any, body: bytes) -> Any:
        self.announced[path] = Part.model_validate_json(body)
        return 200, json.dumps({"url": path if self.where == "gateway" else STORE + path}).encode(), []

    def _put(self, outside: bool, path: str, headers: dict[str, str], body: bytes) -> Any:
        told = self.announced[path]
        if "transfer-encoding" in headers or int(headers["content-length"]) != len(body):
            self.problems.append("a part came without its length")
        if (told.size, told.sha256) != (len(body), hashlib.sha256(body).hexdigest()):
            self.problems.append("a part is not what was announced")
        self.parts[path] = body
        return 200, b"", []

    def _finish(self, outside: bool, path: str, headers: Any, body: bytes) -> Any:
        archived = Archived.model_validate_json(body)
        name = path.rpartition("/")[2]
        if self.archives.setdefault(name, archived) != archived:
            self.problems.append("an archive was finished twice, differently")
        return 200, self.kept.model_dump_json().encode(), []

    def _get(self, outside: bool, path: str, headers: Any, body: bytes) -> Any:
        if self.where == "store" and not outside:
            return 307, b"", [(b"location", (STORE + path).encode())]
        return 200, self.parts[path], []


async def _faulty(send: Any, fault: Fault | None, status: int, body: bytes, headers: Any) -> None:
    if fault == "drop":
        raise ConnectionError("hang up without an answer")
    if fault == "cut":
        start = {"type": "http.response.start", "status": status, "headers": [*headers, _length(body)]}
        await send(start)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        raise ConnectionError("hang up in the middle")
    changed = {"other": body[::-1], "long": body + b"x", "short": body[:-1]}
    await _reply(send, status, changed.get(str(fault), body), headers)


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


async def _reply(send: Any, status: int, body: bytes, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers, _length(body)]})
    await send({"type": "http.response.body", "body": body})
