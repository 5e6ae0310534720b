"""A callback that notes what it is asked, and answers as a test wants it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2


@dataclass
class Callback:
    """`asked` are the paths and bodies, in order; `answer` makes the answers."""

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answer: Callable[[str], httpx2.Response] = lambda path: httpx2.Response(204)

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer), base_url="http://callback")

    def to(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.asked if asked == path]

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append((request.url.path, json.loads(await request.aread())))
        return self.answer(request.url.path)
