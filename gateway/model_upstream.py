"""The server that really answers: where it is, and what is sent to it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from opensessions.access.model_keys import KeyAway as KeyAway

VERSION = "2023-06-01"
# By family: a newer date of one is the same kind of thing. What reaches files, skills, other servers or
# dearer serving is not here; the body's own allowlist refuses those too.
BETAS = frozenset(
    [
        "advanced-tool-use",
        "claude-code",
        "context-hint",
        "context-management",
        "effort",
        "extended-cache-ttl",
        "fallback-credit",
        "fine-grained-tool-streaming",
        "inline-tools",
        "interleaved-thinking",
        "mid-conversation-system",
        "mid-conversation-system-clear-at",
        "mid-conversation-tool-changes",
        "per-turn-control",
        "prompt-caching",
        "prompt-caching-scope",
        "redact-thinking",
        "server-side-fallback",
        "structured-outputs",
        "task-budgets",
        "thinking-binding-controls",
        "thinking-display-updates",
        "thinking-resumption",
        "thinking-token-count",
        "timing",
        "token-counting",
        "token-efficient-tools",
        "tool-search-tool",
    ]
)
BETA = re.compile(r"([a-z][a-z0-9-]*)-20\d\d-?\d\d-?\d\d")


OwnKey = Callable[[str], Awaitable[str | None]]
"""The key that an account has itself, if it has one. Raises KeyAway."""


async def no_own_key(account: str) -> str | None:
    return None


@dataclass(frozen=True)
class Upstream:
    """A server that speaks the Messages API.

    `url` is what comes before `/v1/messages`. `key` is sent as `x-api-key` when there is one; `auth` proves
    this server in another way, such as a key that changes or a signature. With `unix_socket` the server is
    dialled there and `url` only names it.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    unix_socket: Path | None = None
    auth: httpx2.Auth | None = field(default=None, repr=False)

    def open(self) -> httpx2.AsyncClient:
        """A client for it that follows no redirect and asks no proxy; the caller closes it."""
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30)
        socket = str(self.unix_socket) if self.unix_socket else None
        verify = self.url.startswith("https:")  # loading certificates takes 0.1 s; plain HTTP needs none
        return httpx2.AsyncClient(
            auth=self.auth,
            transport=httpx2.AsyncHTTPTransport(verify=verify, uds=socket, limits=limits, trust_env=False),
            timeout=httpx2.Timeout(600, connect=10, pool=None),
            follow_redirects=False,
            trust_env=False,
        )

    def headers(self, betas: str, own_key: str | None = None) -> dict[str, str]:
        """All that is sent: nothing of the caller's but those of its `betas` that are known. An account's
        `own_key` goes in the place of the operator's.
        """
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "anthropic-version": VERSION,
            "user-agent": "opensessions",
        }
        if key := own_key or self.key:
            headers["x-api-key"] = key
        if known := known_betas(betas):
            headers["anthropic-beta"] = known
        return headers


def known_betas(header: str) -> str:
    """Those of a comma-separated `anthropic-beta` header that are passed on, in their order."""
    names = (name.strip() for name in header.split(","))
    return ",".join(n for n in names if (found := BETA.fullmatch(n)) and found[1] in BETAS)
