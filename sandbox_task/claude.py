"""The connection to the agent's program: one long-lived client, started again if it dies."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, ClaudeSDKClient, ClaudeSDKError, Message

from sandbox_task import processes
from sandbox_task.programs import Programs

log = logging.getLogger(__name__)
_PARTING = 2.0
"""Seconds that the program has to end by itself."""


class AgentLost(Exception):
    """The agent's program could not be started, or died; the text says why."""


class Claude:
    """`options` makes the options for a given conversation id; `heard` gets every message in order, and None
    when the program is gone. One of the `programs` that wait is taken if it will do.
    """

    def __init__(
        self,
        options: Callable[[Callable[[str], None], str | None], ClaudeAgentOptions],
        heard: Callable[[Message | None], Awaitable[None]],
        programs: Programs,
    ) -> None:
        self._options, self._heard, self._programs = options, heard, programs
        self._client: ClaudeSDKClient | None = None
        self._reader: asyncio.Task[None] | None = None
        self._words: deque[str] = deque(maxlen=20)
        self.session_id: str | None = None

    @property
    def connected(self) -> bool:
        return self._client is not None

    @property
    def last_words(self) -> str:
        """What the program wrote to standard error last."""
        return " ".join(self._words)[-500:]

    async def connect(self) -> bool:
        """Start the program, going on with the earlier conversation if there is one. False: a new one.

        Raises AgentLost.
        """
        if self.session_id is not None:
            with suppress(AgentLost):
                await self._start(self.session_id)
                return True
        await self._start(None)
        return False

    async def _start(self, resume: str | None) -> None:
        wanted = self._options(self._words.append, resume)
        client = await self._programs.take(wanted) or await self._started(wanted)
        self._client = client
        self._reader = asyncio.create_task(self._read(client))

    async def _started(self, wanted: ClaudeAgentOptions) -> ClaudeSDKClient:
        client = ClaudeSDKClient(wanted)
        try:
            await client.connect()
        except Exception as error:
            # The SDK raises a bare Exception when the program refuses or never answers its first request.
            raise AgentLost(f"The agent could not be started: {error} {self.last_words}".strip()) from error
        return client

    async def _read(self, client: ClaudeSDKClient) -> None:
        try:
            async for message in client.receive_messages():
                await self._heard(message)
        except Exception as error:
            # Whatever it was, the turn must end and the next message start the program again.
            log.warning("The agent's program ended: %s", type(error).__name__)
        finally:
            self._client = None
        await self._heard(None)
        with suppress(Exception):  # `end` may be parting from it too, and two do not go together
            await client.disconnect()

    async def ask(self, text: str, uuid: str) -> None:
        """Send a prompt; the result that answers it carries `uuid`. Raises AgentLost."""

        async def prompt() -> Any:
            message = {"role": "user", "content": text}
            yield {"type": "user", "message": message, "parent_tool_use_id": None, "uuid": uuid}

        if self._client is None:
            raise AgentLost("The agent is not running.")
        try:
            await self._client.query(prompt())
        except ClaudeSDKError as error:
            raise AgentLost(f"The agent does not take the prompt: {error}") from error

    async def interrupt(self) -> None:
        """Ask the program to stop its turn; it may not obey."""
        if self._client is not None:
            with suppress(Exception):
                await self._client.interrupt()

    def kill(self) -> None:
        """End the program and what it runs, at once; servers that it left to themselves stay."""
        processes.end_agent()

    async def end(self) -> None:
        """End the program, at best by itself, as it writes down then what the conversation has cost."""
        client, reader = self._client, self._reader
        if client is not None:
            with suppress(Exception):
                async with asyncio.timeout(_PARTING):
                    await client.disconnect()
            self.kill()
        if reader is not None:
            await asyncio.wait([reader], timeout=_PARTING)
