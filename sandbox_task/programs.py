"""Programs of the agent that start before anybody knows what for: that is most of a session's start."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient

from opensessions.events import Assign, Prepare
from sandbox_task import beneath, options
from sandbox_task.settings import Paths
from sandbox_task.surroundings import Surroundings

log = logging.getLogger(__name__)

_KINDS: tuple[list[str], ...] = ([], ["a skill"])
"""A session with skills has a tool more, and a program cannot change its tools later."""
_PATIENCE = 10.0
"""Seconds for a program to take up its session; it needs a tenth of one."""
_PARTING = 3.0
"""Seconds after which the programs that nobody needs are ended: the session's first answer goes first."""


class _Words:
    """Where a program's standard error goes."""

    def __init__(self) -> None:
        self.to: Callable[[str], None] = log.debug

    def __call__(self, line: str) -> None:
        self.to(line)


@dataclass(frozen=True)
class _Program:
    """It waits in the usual folder, with `options` that hold for good but for what a claim tells it."""

    client: ClaudeSDKClient
    options: ClaudeAgentOptions
    words: _Words

    def fits(self, wanted: ClaudeAgentOptions) -> bool:
        told = {name: getattr(wanted, name) for name in ("system_prompt", "cwd", "model")}
        own: dict[str, Any] = {"stderr": wanted.stderr, "extra_args": wanted.extra_args}
        return replace(self.options, **told, **own) == wanted

    async def claim(self, wanted: ClaudeAgentOptions) -> None:
        """Take up a session. The request is one of the SDK's protocol that its Python client lacks."""
        prompt = wanted.system_prompt
        assert self.client._query is not None and isinstance(prompt, dict) and prompt["type"] == "preset"
        request = {
            "subtype": "claim_session",
            "cwd": str(wanted.cwd),
            "append_system_prompt": prompt.get("append", ""),
        }
        await self.client._query._send_control_request(request, timeout=_PATIENCE)
        if wanted.model is not None:
            await self.client.set_model(wanted.model)
        self.words.to = wanted.stderr or log.debug

    async def end(self) -> None:
        with suppress(Exception):
            await self.client.disconnect()


class Programs:
    """At most one of them is taken, at the first `take`; that is the end of the others."""

    def __init__(self) -> None:
        self._waiting: list[_Program] = []
        self._parting: asyncio.Task[None] | None = None

    async def start(self, usual: Prepare, around: Surroundings, paths: Paths) -> None:
        """Start one for each kind of session that is likely. Raises what starting one raises."""
        assign = Assign(
            session_id="",
            tools=usual.tools,
            max_turns=usual.max_turns,
            preview_url=usual.preview_url,
        )
        for folder in ("home", "agent", paths.inside(assign.cwd).relative_to(paths.root)):
            beneath.make_folder(paths.root, str(folder))
        for skills in _KINDS:
            words = _Words()
            wanted = options.options(assign, around, paths, skills, words)
            waits = replace(wanted, extra_args={"await-claim": None})
            client = ClaudeSDKClient(waits)
            await client.connect()
            self._waiting.append(_Program(client, waits, words))

    async def take(self, wanted: ClaudeAgentOptions) -> ClaudeSDKClient | None:
        """One that runs as `wanted`, if there is one."""
        waiting, self._waiting = self._waiting, []
        fit = next((program for program in waiting if program.fits(wanted)), None)
        if fit is not None:
            try:
                await fit.claim(wanted)
            except Exception as error:
                # The SDK raises a bare Exception for a refusal. Another program is started then.
                log.warning("A program did not take up its session: %s", type(error).__name__)
                fit = None
        if rest := [program for program in waiting if program is not fit]:
            self._parting = asyncio.create_task(_end(rest))
        return fit.client if fit else None


async def _end(programs: list[_Program]) -> None:
    await asyncio.sleep(_PARTING)
    for program in programs:
        await program.end()
