"""The agent's turns: one for each message, in order, and what it says in them as events."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from claude_agent_sdk import AssistantMessage, Message, ResultMessage, SystemMessage

from opensessions import events
from sandbox_task import frames, options, project, skills, turns
from sandbox_task.claude import AgentLost, Claude
from sandbox_task.desk import Desk
from sandbox_task.errands import Errand, Errands, Item
from sandbox_task.keeping import Keeper
from sandbox_task.programs import Programs
from sandbox_task.site import NotBegun, Site
from sandbox_task.toolcalls import ToolCalls
from sandbox_task.turns import Turn

PATIENCE = 1.5
"""Seconds that the agent has to obey an interrupt before its program is killed."""
_REMEMBERED = 200


class Agent:
    """Takes inbox items, which wait for their turn. The `parts` must run for anything to happen, and that is
    nothing until the workspace has `begun`.
    """

    def __init__(
        self,
        assign: events.Assign,
        seq: int,
        desk: Desk,
        site: Site,
        begun: "asyncio.Task[None]",
        programs: Programs,
    ) -> None:
        self._assign, self._desk, self._seq, self._begun = assign, desk, seq, begun
        self._put, self._tell = desk.put, desk.tell
        self._skills: list[str] = []
        self._history = deque(assign.history, maxlen=_REMEMBERED)
        self._fresh = True
        self._site = site
        self._artifacts = project.Artifacts(desk.paths.root)
        self._calls = ToolCalls(self._artifacts, str(site.cwd))
        self._claude = Claude(self._options, self._heard, programs)
        self._claude.session_id = assign.beginning.claude_session_id
        self._keeper = Keeper(site, assign.workspace_bytes, self._put)
        self._errands = Errands(self._keeper, site, self._claude, self._put)
        self._waiting: deque[Turn | Errand] = deque()
        if assign.prompt is not None:
            self._waiting.append(Turn(seq, assign.message_id, assign.prompt))
        self._news = asyncio.Event()
        self._turn: Turn | None = None
        self._away = False

    @property
    def parts(self) -> list[Coroutine[Any, Any, None]]:
        return [self.run(), self._keeper.run()]

    def ask(self, seq: int, message: events.Message) -> None:
        """Queue a message behind those that wait."""
        self._queue(Turn(seq, message.message_id, message.text))

    def send(self, seq: int, item: Item) -> None:
        """Queue something to do between turns. Sleeping is for when there is nothing else to do, or never."""
        busy = (self._turn is not None and not self._turn.over) or self._asked()
        if not (busy and isinstance(item, events.Hibernate)):
            self._queue(Errand(seq, item))

    def listening(self) -> None:
        """The ports that listen are others than before."""
        asyncio.get_running_loop().run_in_executor(None, self._site.servers.look)

    async def run(self) -> None:
        """Begin, and take what waits, for ever."""
        try:
            await self._begun
        except NotBegun as error:
            await self._put(events.Error(message=str(error), code="wake_failed"))
            self._desk.stop()
            return
        await self._prepare()
        while True:
            while self._turn is not None or not self._waiting:
                self._news.clear()
                await self._news.wait()
            following = self._waiting.popleft()
            if isinstance(following, Turn):
                await self._answer(following)
            else:
                await self._leave(following)

    async def interrupt(self) -> None:
        """Stop the turn that runs, or the one that is about to; without any, do nothing."""
        turn = self._turn
        if turn is None:
            following = self._waiting[0] if self._waiting and not self._away else None
            if isinstance(following, Turn):
                following.cut = True
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

    async def _prepare(self) -> None:
        try:
            self._skills = skills.place(self._desk.paths.agent, self._assign.skills)
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
        beginning = self._assign.beginning
        if beginning.sources:
            await asyncio.gather(self._keeper.began(beginning.fresh), self._connect())
        else:
            await self._connect()
        if self._claude.connected:
            await self._put(events.Ready())
        if not self._waiting:
            self._tell("idle")

    async def _connect(self) -> None:
        try:
            self._fresh = not await self._claude.connect()
        except AgentLost as error:
            await self._put(events.Error(message=str(error), code="agent_failed"))

    def _options(self, stderr: Callable[[str], None], resume: str | None) -> Any:
        desk = self._desk
        return options.options(self._assign, desk.around, desk.paths, self._skills, stderr, resume)

    def _queue(self, following: Turn | Errand) -> None:
        self._waiting.append(following)
        self._news.set()

    def _asked(self) -> int:
        """How many of those that wait are turns."""
        return sum(isinstance(each, Turn) or isinstance(each.item, events.Restore) for each in self._waiting)

    async def _leave(self, errand: Errand) -> None:
        """Do something between two turns, with the agent there again at the end."""
        self._away = True
        if isinstance(errand.item, events.Save):
            await self._errands.save(errand.seq)
        elif isinstance(errand.item, events.Restore):
            await self._go_back(errand.seq, errand.item)
        elif not self._waiting and await self._errands.hibernate(errand.seq):
            self._desk.stop()
            return
        if not self._claude.connected:
            await self._connect()
        self._away = False

    async def _go_back(self, seq: int, item: events.Restore) -> None:
        self._seq = max(self._seq, seq)
        self._tell("working")
        if await self._errands.restore(seq, item):
            self._history.clear()
        else:
            await self._put(self._completed("error", seq))
        if not self._asked():
            self._tell("idle")

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
        """Say how the turn ended, and make a version of it. Called once for each turn, whoever finds out
        first.
        """
        if turn.over:
            return
        turn.over = True
        reason = turn.reason(result)
        if result is not None and (event := frames.event(result)) is not None:
            await self._put(event)
        if reason == "error":
            code = "agent_failed" if trouble else "model_failed"
            await self._put(events.Error(message=trouble or turns.trouble(result), code=code))
        framework, artifacts = await asyncio.to_thread(self._made)
        usage = result.usage if result else None
        more = {"usage": usage, "framework": framework, "artifacts": artifacts}
        await self._put(self._completed(reason, turn.seq).model_copy(update=more))
        self._remember(turn, result)
        if not self._asked():
            self._tell("idle")
        await self._keeper.turned(turn.message_id, turn.text, self._claude.session_id)
        self._turn = None
        turn.done.set()
        self._news.set()

    def _completed(self, reason: turns.Reason, seq: int) -> events.TurnComplete:
        session_id = self._claude.session_id
        return events.TurnComplete(
            reason=reason, inbox_seq=seq, pending=self._asked(), claude_session_id=session_id
        )

    def _made(self) -> tuple[str | None, list[events.Artifact]]:
        return project.framework(self._desk.paths.root, self._site.folder), self._artifacts.listed()

    def _remember(self, turn: Turn, result: ResultMessage | None) -> None:
        if turn.message_id is not None:
            self._history.append(events.HistoryMessage(role="user", content=turn.text))
        if result is not None and result.result and not result.is_error:
            self._history.append(events.HistoryMessage(role="assistant", content=result.result))
