"""Live events: one reader per session, however many watch it.

A watcher is a place in the session's sequence and no queue: what it has not taken yet stays in the store, or
among the few events that all watchers of a session share. So a slow one costs nobody anything.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice

import anyio.to_thread

from gateway.bells import Bell, Bells
from opensessions.errors import NotFound
from opensessions.models import Event

log = logging.getLogger(__name__)

Read = Callable[[str, int, int], list[Event]]
"""`read(session_id, after, limit)`: at most `limit` stored events with `seq` > `after`, in order."""

PAGE = 100
"""How many events are read at a time, and so at most held by a watcher."""
SHARED_EVENTS = 256
SHARED_CHARS = 1 << 20
WAITING_DELTAS = 256


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of text that the agent is saying just now; `at` was the newest event's `seq` at that moment."""

    text: str
    at: int


class Topic:
    """What the watchers of one session share: the newest events, up to `tip`, without a gap."""

    def __init__(self, session_id: str, tip: int) -> None:
        self.session_id = session_id
        self.tip = tip
        self.watchers: set[Watcher] = set()
        self.reader: asyncio.Task[None] | None = None
        self._shared: deque[tuple[Event, int]] = deque()
        self._chars = 0

    def publish(self, events: list[Event]) -> None:
        """Share what was read after `tip`, and tell the watchers."""
        for event in events:
            size = len(str(event.payload))
            self._shared.append((event, size))
            self._chars += size
            self.tip = event.seq
        while len(self._shared) > SHARED_EVENTS or (self._chars > SHARED_CHARS and len(self._shared) > 1):
            self._chars -= self._shared.popleft()[1]
        for watcher in self.watchers:
            watcher.stir()

    def shared(self, after: int) -> list[Event] | None:
        """The next events after `after`, or None when they are not shared (any more)."""
        if not self._shared or after + 1 < self._shared[0][0].seq:
            return None
        start = after + 1 - self._shared[0][0].seq
        return [event for event, _ in islice(self._shared, start, start + PAGE)]


class Watcher:
    """One reader's place in a session. Iterate over it, or take what is new with `next`."""

    def __init__(self, topic: Topic, read: Read, after: int, deltas: bool) -> None:
        self.after = after
        self.deltas = deltas
        self._topic = topic
        self._read = read
        self._stirred = asyncio.Event()
        self._texts: deque[Delta] = deque()
        self._cut = False

    async def next(self, within: float | None = None) -> list[Event | Delta]:
        """The next items, at least one; an empty list when `within` seconds brought none.

        Events come in order, each once, without a gap. Raises NotFound when they are no longer stored, and
        what the store raises.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.after >= self._topic.tip and not self._texts:
                    self._stirred.clear()
                    await self._stirred.wait()
        return self._partial() or await self._whole()

    async def __aiter__(self) -> AsyncIterator[Event | Delta]:
        while True:
            for item in await self.next():
                yield item

    def stir(self) -> None:
        self._stirred.set()

    def offer(self, delta: Delta) -> None:
        """Take a partial text along, if this watcher keeps up. Once one is left out, so are the others until
        the next event: a text with its end missing is better than one with a hole.
        """
        self._cut = self._cut or len(self._texts) >= WAITING_DELTAS
        if not self._cut:
            self._texts.append(delta)
            self.stir()

    def _partial(self) -> list[Event | Delta]:
        taken: list[Event | Delta] = []
        while self._texts and self._texts[0].at <= self.after:
            taken.append(self._texts.popleft())
        return taken

    async def _whole(self) -> list[Event | Delta]:
        if self.after >= self._topic.tip:
            return []
        events = self._topic.shared(self.after)
        if events is None:
            events = await anyio.to_thread.run_sync(self._read, self._topic.session_id, self.after, PAGE)
        if not events:
            raise NotFound(f"Events after {self.after} of session {self._topic.session_id} are gone.")
        self.after = events[-1].seq
        self._cut = False
        return list[Event | Delta](events)


class Hub:
    """Hands stored events to whoever watches. `read` is called in worker threads.

    A watched session is read when `wake` says so, and every `poll_seconds` in case nobody said so. Nothing is
    kept of a session that nobody watches. All methods but `wake` belong to the event loop. `bells` are what
    `wake` rings, for those who wait for something else of a session.
    """

    def __init__(self, read: Read, *, poll_seconds: float = 2.0) -> None:
        self.bells = Bells()
        self._read = read
        self._poll_seconds = poll_seconds
        self._topics: dict[str, Topic] = {}

    def wake(self, session_id: str) -> None:
        """Say that something of the session was stored. From any thread; cheap when nobody waits."""
        self.bells.ring(session_id)

    @contextmanager
    def watch(self, session_id: str, after: int, last_seq: int, *, deltas: bool = False) -> Iterator[Watcher]:
        """Watch the events with `seq` > `after`. `last_seq` is a number that the session has reached."""
        topic = self._topics.get(session_id) or self._open(session_id, after, last_seq)
        watcher = Watcher(topic, self._read, after, deltas)
        topic.watchers.add(watcher)
        try:
            yield watcher
        finally:
            topic.watchers.discard(watcher)
            if not topic.watchers:
                self._close(topic)

    def watching(self, session_id: str) -> int:
        """How many watch the session. Nothing is kept of it here when nobody does."""
        topic = self._topics.get(session_id)
        return len(topic.watchers) if topic else 0

    def __len__(self) -> int:
        """How many watch, all sessions together."""
        return sum(len(topic.watchers) for topic in list(self._topics.values()))

    def wants_deltas(self, session_id: str) -> bool:
        """Whether anybody would see a partial text."""
        topic = self._topics.get(session_id)
        return topic is not None and any(watcher.deltas for watcher in topic.watchers)

    def delta(self, session_id: str, text: str) -> None:
        """Show a partial text to those who asked for it. It is stored nowhere, and slow watchers miss it."""
        if topic := self._topics.get(session_id):
            for watcher in topic.watchers:
                if watcher.deltas:
                    watcher.offer(Delta(text, topic.tip))

    def _open(self, session_id: str, after: int, last_seq: int) -> Topic:
        # What the first watcher replays is shared with the others, as far as that reaches back.
        topic = Topic(session_id, max(min(after, last_seq), last_seq - SHARED_EVENTS))
        self._topics[session_id] = topic
        topic.reader = asyncio.create_task(self._follow(topic), name=f"events of {session_id}")
        return topic

    def _close(self, topic: Topic) -> None:
        del self._topics[topic.session_id]
        if topic.reader is not None:
            topic.reader.cancel()

    async def _follow(self, topic: Topic) -> None:
        with self.bells.hang(topic.session_id) as bell:
            while True:
                await self._catch_up(topic, bell)
                await bell.wait(self._poll_seconds)

    async def _catch_up(self, topic: Topic, bell: Bell) -> None:
        try:
            events = await anyio.to_thread.run_sync(self._read, topic.session_id, topic.tip, PAGE)
        except Exception:  # the next poll tries again; the watchers stay
            log.exception("Events of %s could not be read", topic.session_id)
            return
        if events:
            topic.publish(events)
        if len(events) == PAGE:
            bell.ring()
