"""The agent's turns: one for each message, in order, and what it says in them as events."""

import asyncio
import os
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from claude_agent_sdk import (
    AssistantMessage,
    Message,
    ResultMessage,
    SystemMessage,
)

from opensessions import events
from sandbox_task import beneath, frames, options, project, skills
from sandbox_task.claude import AgentLost, Claude
from sandbox_task.outbox import Put, State
from sandbox_task.settings import Paths
from sandbox_task.surroundings import Surroundings
from sandbox_task.toolcalls import ToolCalls

PATIENCE = 1.5
"""Seconds that the agent has to obey an interrupt before its program is killed."""
_REMEMBERED = 200
Reason = Literal["completed", "interrupted", "max_turns", "error"]


@dataclass
class Turn:
    """A turn that runs or waits. `message_id` is None when the agent began it by itself, because something
    that it had left in the background ended.
    """

    seq: int
    message_id: str | None
    text: str = ""
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    cut: bool = False
    over: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def answered_by(self, result: ResultMessage) -> bool:
        if self.message_id is None or result.user_message_uuid == self.uuid:
            return True
        if self.uuid in (result.user_message_uuids or ()):
            return True
        return (result.origin or {"kind": "human"}).get("kind") == "human"


class Agent:
    """`put` takes the events, `tell` what the worker does. `run` must run for anything to happen."""

    def __init__(
        self,
        assign: events.Assign,
        seq: int,
        around: Surroundings,
        paths: Paths,
        put: Put,
        tell: Callable[[State], None],
    ) -> None:
        self._assign, self._around, self._paths = assign, around, paths
        self._put, self._tell = put, tell
        self._skills: list[str] = []
        self._history = deque(assign.history, maxlen=_REMEMBERED)
        self._fresh = True
        self._cwd = str(paths.inside(assign.cwd))
        self._folder = os.path.relpath(self._cwd, paths.root).removeprefix(".")
        self._artifacts = project.Artifacts(paths.root)
        self._calls = ToolCalls(self._artifacts, self._cwd)
        self._waiting = deque([Turn(seq, assign.message_id, assign.prompt or "")])
        self._news = asyncio.Event()
        self._turn: Turn | None = None
        self._seq = seq
        self._claude = Claude(self._options, self._heard)

    def ask(self, seq: int, message: events.Message) -> None:
        """Queue a message behind those that wait."""
        self._waiting.append(Turn(seq, message.message_id, message.text))
        self._news.set()

    async def run(self) -> None:
        """Take the turns, for ever."""
        await self._prepare()
        while True:
            while self._turn is not None or not self._waiting:
                self._news.clear()
                await self._news.wait()
            await self._answer(self._waiting.popleft())

    async def interrupt(self) -> None:
        """Stop the turn that runs, or the one that is about to; without any, do nothing."""
        turn = self._turn
        if turn is None:
            if self._waiting:
                self._waiting[0].cut = True
            return
        if turn.cut or turn.over:
            return
        turn.cut = True
        await self._put(events.Interrupted())
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._claude.interrupt()
                await turn.done.wait()
        if not turn.done.is_set():
            self._claude.kill()

    def kill(self) -> None:
        """End the agent and what it started."""
        self._claude.kill()

    async def _prepare(self) -> None:
        try:
            for folder in ("home", "agent", self._folder):
                if folder:
                    beneath.make_folder(self._paths.root, folder)
            self._skills = skills.place(self._paths.agent, self._assign.skills)
        except (OSError, ValueError) as error:
            await self._put(
                events.Error(message=f"The workspace is not ready: {error}", code="workspace_failed")
            )
        tools = self._options(lambda line: None, None).tools
        await self._put(
            events.Configured(
                tools=tools if isinstance(tools, list) else [],
                skills=self._skills,
                model=self._assign.model,
                cwd=self._assign.cwd,
            )
        )
        try:
            await self._claude.connect()
            await self._put(events.Ready())
        except AgentLost as error:
            await self._put(events.Error(message=str(error), code="agent_failed"))

    def _options(self, stderr: Callable[[str], None], resume: str | None) -> Any:
        return options.options(self._assign, self._around, self._paths, self._skills, stderr, resume)

    async def _answer(self, turn: Turn) -> None:
        cut_before = turn.cut
        self._begin(turn)
        await self._put(events.TurnStarted(message_id=turn.message_id))
        if cut_before:
            await self._put(events.Interrupted())
        try:
            if not turn.cut and not self._claude.connected:
                self._fresh = not await self._claude.connect()
            if turn.cut:
                await self._finish(turn, None)
            else:
                await self._ask(turn)
        except AgentLost as error:
            await self._finish(turn, None, str(error))
        await turn.done.wait()

    async def _ask(self, turn: Turn) -> None:
        text = options.with_history(self._history, turn.text) if self._fresh else turn.text
        await self._claude.ask(text, turn.uuid)
        self._fresh = False
        if turn.cut:  # while the prompt was on its way, so that the program may have had nothing to stop
            await self._claude.interrupt()

    def _begin(self, turn: Turn) -> None:
        self._turn = turn
        self._seq = max(self._seq, turn.seq)
        self._tell("working")

    async def _heard(self, message: Message | None) -> None:
        if message is None:
            self._fresh = True
            if self._turn is not None:
                words = self._claude.last_words
                await self._finish(
                    self._turn, None, f"The agent's program ended unexpectedly. {words}".strip()
                )
        elif isinstance(message, ResultMessage):
            self._claude.session_id = message.session_id
            if self._turn is not None and self._turn.answered_by(message):
                await self._finish(self._turn, message)
        else:
            await self._said(message)

    async def _said(self, message: Message) -> None:
        if self._turn is None and isinstance(message, AssistantMessage):
            self._begin(Turn(self._seq, None))
            await self._put(events.TurnStarted())
        event = frames.event(message)
        if event is not None:
            await self._put(event)
        if isinstance(message, SystemMessage) and message.subtype == "init":
            self._claude.session_id = message.data.get("session_id")
        for used in self._calls.ended(message):
            await self._put(used)

    async def _finish(self, turn: Turn, result: ResultMessage | None, trouble: str = "") -> None:
        """Say how the turn ended. Called once for each turn, whoever finds out first."""
        if turn.over:
            return
        turn.over = True
        reason = _reason(turn, result)
        if result is not None and (event := frames.event(result)) is not None:
            await self._put(event)
        if reason == "error":
            code = "agent_failed" if trouble else "model_failed"
            await self._put(events.Error(message=trouble or _trouble(result), code=code))
        await self._put(await self._completed(turn, reason, result))
        self._remember(turn, result)
        self._turn = None
        if not self._waiting:
            self._tell("idle")
        turn.done.set()
        self._news.set()

    async def _completed(
        self, turn: Turn, reason: Reason, result: ResultMessage | None
    ) -> events.TurnComplete:
        framework, artifacts = await asyncio.to_thread(self._made)
        return events.TurnComplete(
            reason=reason,
            inbox_seq=turn.seq,
            pending=len(self._waiting),
            claude_session_id=self._claude.session_id,
            usage=result.usage if result else None,
            framework=framework,
            artifacts=artifacts,
        )

    def _made(self) -> tuple[str | None, list[events.Artifact]]:
        return project.framework(self._paths.root, self._folder), self._artifacts.listed()

    def _remember(self, turn: Turn, result: ResultMessage | None) -> None:
        if turn.message_id is not None:
            self._history.append(events.HistoryMessage(role="user", content=turn.text))
        if result is not None and result.result and not result.is_error:
            self._history.append(events.HistoryMessage(role="assistant", content=result.result))


def _reason(turn: Turn, result: ResultMessage | None) -> Reason:
    if turn.cut:
        return "interrupted"
    if result is None:
        return "error"
    if result.subtype == "error_max_turns":
        return "max_turns"
    return "error" if result.is_error else "completed"


def _trouble(result: ResultMessage | None) -> str:
    said = result and (result.result or "; ".join(result.errors or []))
    return f"The agent could not go on: {said or 'no reason was given'}"
