"""The program that runs in a sandbox beside the agent: wiring and lifetime."""

import asyncio
import base64
import ctypes
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import uvloop

from opensessions import events
from opensessions.handshake import derived_token
from sandbox_task import gateway, ports, processes, relays
from sandbox_task.boot import booted
from sandbox_task.desk import Desk
from sandbox_task.door import Door
from sandbox_task.inbox import Inbox
from sandbox_task.outbox import Outbox
from sandbox_task.payloads import Secrets
from sandbox_task.settings import Paths, Settings, first_line, settings, undumpable
from sandbox_task.site import Site
from sandbox_task.surroundings import Surroundings

if TYPE_CHECKING:
    from sandbox_task.agent import Agent
    from sandbox_task.programs import Programs
    from sandbox_task.workspace.file_service import FileService

Loading: TypeAlias = "asyncio.Task[tuple[type[Agent], Programs]]"

log = logging.getLogger(__name__)
_FAREWELL = 2.5
"""Seconds for the last events to leave after SIGTERM or `shutdown`."""
_BURIALS = 5.0
"""Seconds between two looks for orphans that have ended."""


def main(paths: Paths = Paths()) -> None:  # noqa: B008
    """Run until the host, the gateway or SIGTERM says that it is over. Exits with 0."""
    undumpable()
    processes.adopt()
    given = settings(os.environ, lambda: first_line(0))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    _keep_freed_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(given, paths).run())
        # The runner would wait for threads that import the agent, and for its client to part from a program
        # that was killed.
        sys.stderr.flush()
        os._exit(0)


class Worker:
    def __init__(self, given: Settings, paths: Paths) -> None:
        self._given, self._paths = given, paths
        self._own: set[int] = set()
        self._door = Door(self._own)
        self._stop = asyncio.Event()
        self._lost = False
        self._agent: Agent | None = None
        self._readying: asyncio.Task[Programs] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        try:
            given = self._given = await booted(self._given)
        except gateway.Revoked:
            return
        self._listening = await self._door.listen(given.door_fd, given.door_port)
        self._around = (
            await relays.reachable(given.gateway_url, self._own),
            await relays.reachable(given.egress_url, self._own),
        )
        async with gateway.client(given.gateway_url, given.token) as client:
            self._client = client
            self._outbox = Outbox(client, Secrets(_own_tokens(given.token)))
            await self._outbox.put(events.SandboxReady())
            self._start(self._outbox.run())
            self._start(self._read(Inbox(client)))
            self._start(ports.watch(self._own, self._outbox.put, self._listening_now))
            self._start(_bury())
            self._listen_for_the_end()
            await self._stop.wait()
            await self._end()

    def _start(self, part: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(part)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A part that ends takes the worker with it: the host sees a dead sandbox rather than a deaf one."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, gateway.Revoked):
            self._lost = True
        elif error is not None:
            log.error("A part of the worker failed", exc_info=error)
        self._stop.set()

    def _listen_for_the_end(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with suppress(PermissionError):  # not a pipe, so nothing that could break
            loop.add_reader(0, self._host_spoke)

    def _host_spoke(self) -> None:
        if os.read(0, 4096) == b"":
            self._lost = True
            self._stop.set()

    async def _read(self, inbox: Inbox) -> None:
        loading: Loading = asyncio.create_task(asyncio.to_thread(_agent))
        async for seq, item in inbox.items():
            if isinstance(item, events.Assign):
                await self._assigned(seq, item, loading)
            elif isinstance(item, events.Prepare):
                if self._readying is None and self._agent is None:
                    self._readying = asyncio.create_task(self._made_ready(item, loading))
            elif isinstance(item, events.Shutdown):
                self._stop.set()
            elif self._agent is None:
                log.warning("Inbox item %d came before an assignment", seq)
            elif isinstance(item, events.Message):
                self._agent.ask(seq, item)
            elif isinstance(item, events.Interrupt):
                await self._agent.interrupt()
            else:
                self._agent.send(seq, item)

    async def _made_ready(self, usual: events.Prepare, loading: Loading) -> "Programs":
        """Start what a session will need; one that it is told by `idle` can come. What failed is started when
        it is needed.
        """
        _, programs = await loading
        try:
            around = Surroundings.of(*self._around, self._given.token)
            await programs.start(usual, around, self._paths)
        except Exception as error:
            log.warning("The agent's program could not be started beforehand: %s", type(error).__name__)
        self._outbox.tell(state="idle")
        return programs

    async def _assigned(self, seq: int, assign: events.Assign, loading: Loading) -> None:
        if self._agent is not None:
            log.warning("Inbox item %d assigns a second time", seq)
            return
        self._door.key = assign.door_key
        desk = Desk(
            around=Surroundings.of(*self._around, self._given.token),
            paths=self._paths,
            client=self._client,
            token=self._given.token,
            own=self._own,
            put=self._outbox.put,
            tell=lambda state: self._outbox.tell(state=state),
            stop=self._stop.set,
        )
        try:
            site = Site(assign, desk)
        except ValueError as error:
            await self._outbox.put(events.Error(message=str(error), code="bad_assignment"))
            return
        begun = asyncio.create_task(self._begin(site, assign.workspace_bytes))
        agent, programs = await loading
        if self._readying is not None:
            programs = await self._readying
        self._agent = agent(assign, seq, desk, site, begun, programs)
        for part in self._agent.parts:
            self._start(part)

    async def _begin(self, site: Site, limit: int) -> None:
        """Bring the workspace; only then its files are shown."""
        await site.begin()
        self._door.files = _files(self._paths.root, limit)

    def _listening_now(self, found: list[int]) -> None:
        self._outbox.tell(ports=found)
        if self._agent is not None:
            self._agent.listening()

    async def _end(self) -> None:
        """Stop the turn, let the last events leave, end the agent; only the latter if nobody listens."""
        if self._agent is not None:
            if not self._lost:
                await self._agent.interrupt()
            processes.end_all()
        if not self._lost:
            await self._outbox.flush(_FAREWELL)


async def _bury() -> None:
    reaper = processes.Reaper()
    while True:
        await asyncio.sleep(_BURIALS)
        await asyncio.to_thread(reaper.bury)


def _agent() -> "tuple[type[Agent], Programs]":
    """The agent's modules, which take a second to import: done while the inbox is opened.

    Without the garbage collector, which would look through what is imported again and again and find nothing.
    """
    gc.disable()
    try:
        from sandbox_task.agent import Agent
        from sandbox_task.programs import Programs
    finally:
        gc.enable()
    gc.freeze()
    return Agent, Programs()


def _files(root: Path, limit: int) -> Callable[[], asyncio.Protocol]:
    """What serves the workspace's files, imported when somebody first asks for one."""

    @cache
    def service() -> "FileService":
        from sandbox_task.workspace.file_service import FileService

        return FileService(root, limit)

    return lambda: service().protocol()


def _own_tokens(token: str) -> list[str]:
    """Every form of the worker's token that a payload might hold."""
    model, egress = derived_token(token, "model"), derived_token(token, "egress")
    return [token, model, egress, base64.b64encode(f"sandbox:{egress}".encode()).decode()]


def _keep_freed_memory() -> None:
    """Keep glibc from giving every freed buffer back to the kernel: the door would fault it in again."""
    libc = ctypes.CDLL(None)
    for name, size in ((-1, 32 << 20), (-3, 4 << 20)):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        if hasattr(libc, "mallopt"):
            libc.mallopt(name, size)
