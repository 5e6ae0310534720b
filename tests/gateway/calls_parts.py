"""A callback that keeps a book of model calls, on which so many tokens may be used."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import httpx2

PATH = "/callback/v1/calls"
Settled = tuple[str, str, dict[str, Any] | None]


@dataclass
class Book:
    """`budget` in tokens, over all sessions. While `away` it does not answer; while `open` is not set,
    nobody's leave is decided, and while `heard` is not, no settlement heard. What a call of the model
    `poison` used, it cannot take. `settled` are session, model and usage of each settlement, in order.
    """

    budget: int | None = None
    away: bool = False
    status: int | None = None
    poison: str | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    aside: dict[str, int] = field(default_factory=dict)
    settled: list[Settled] = field(default_factory=list)
    estimates: int = 0
    attempts: int = 0
    used: int = 0
    spent: int = 0

    def __post_init__(self) -> None:
        self.open.set()
        self.heard.set()

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer), base_url="http://callback")

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.attempts += 1
        body, path = json.loads(request.content), request.url.path
        if self.away:
            raise httpx2.ConnectError("nobody is there", request=request)
        if self.status:
            return httpx2.Response(self.status)
        if path != PATH and body["model"] == self.poison:
            return httpx2.Response(500)
        if path == PATH:
            await self.open.wait()
            self.tokens.append(request.headers["authorization"].removeprefix("Bearer "))
            return self._reserve(body)
        await self.heard.wait()
        self._settle(path.removeprefix(f"{PATH}/").removesuffix("/settlement"), body)
        return httpx2.Response(204)

    def _reserve(self, body: dict[str, Any]) -> httpx2.Response:
        self.asked.append(body)
        worst = body["input_tokens"] + body["max_tokens"]
        taken = self.used + sum(self.aside.values()) + worst
        if self.budget is not None and taken > self.budget:
            self.spent += 1
            error = {"type": "budget_exceeded", "message": "The session's limits.tokens are used up."}
            return httpx2.Response(402, json={"error": error})
        self.aside[body["id"]] = worst
        return httpx2.Response(204)

    def _settle(self, call_id: str, body: dict[str, Any]) -> None:
        usage = body["usage"]
        worst = self.aside.pop(call_id, 0)
        counts = (usage or {}).values()
        self.used += worst if usage is None else sum(n for n in counts if isinstance(n, int))
        self.estimates += body["estimated"]
        self.settled.append((body["session_id"], body["model"], usage))
