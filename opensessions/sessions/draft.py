"""A change of one session in the making: it numbers what is added, so that the service only says what
happens.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Literal, TypeVar

from opensessions.errors import Conflict, Stale
from opensessions.events import InboxItem, Level
from opensessions.models import AgentConfig, Changes, Claim, Event, Message, Session, Version, timestamp
from opensessions.notices import AnyEvent
from opensessions.pool.spares import Spare

T = TypeVar("T")
_TRIES = 20


def decided(decide: Callable[[], T]) -> T:
    """The result of `decide`, which loads, decides and commits; again as long as another writer was first."""
    for _ in range(_TRIES):
        try:
            return decide()
        except Stale:
            continue
    raise Conflict("The session is changing too fast; try again.")


class Draft:
    """Starts from `session`, the changed state without additions, and is written by one
    `SessionStore.commit`.
    """

    def __init__(self, session: Session, now: datetime) -> None:
        self.session = session
        self._now = now
        self._events: list[Event] = []
        self._messages: list[Message] = []
        self._inbox: list[tuple[int, InboxItem]] = []

    @property
    def seq(self) -> int:
        """The number of the newest event."""
        return self.session.head.last_seq

    def say(self, event: AnyEvent, level: Level = "info") -> None:
        """Append an event under the next number."""
        self.advance(last_seq=self.seq + 1, updated_at=self._now)
        name = f"evt_{self.session.id.removeprefix('session_')}{self.seq:08d}"
        payload = event.model_dump(mode="json", exclude_none=True)
        self._events.append(Event(self.seq, name, event.type, level, timestamp(self._now), payload))

    def message(self, message_id: str, role: Literal["user", "assistant"], content: str) -> None:
        """Record a message of the conversation."""
        self._messages.append(Message(id=message_id, role=role, content=content, created_at=self._now))

    def send(self, item: InboxItem) -> None:
        """Put an item into the sandbox's inbox."""
        seq = self.session.head.inbox_seq + 1
        self.advance(inbox_seq=seq, updated_at=self._now)
        self._inbox.append((seq, item))

    def ask(self, item: InboxItem) -> None:
        """Send an item that asks for a turn."""
        self.send(item)
        self.advance(asked_seq=self.session.head.inbox_seq)

    def advance(self, **head: object) -> None:
        """Set fields of the head."""
        moved = self.session.head.model_copy(update=head)
        self.session = self.session.model_copy(update={"head": moved})

    def changes(
        self,
        config: AgentConfig | None = None,
        claim: Claim | None = None,
        versions: tuple[Version, ...] = (),
        spare: Spare | None = None,
    ) -> Changes:
        """Everything that was added."""
        said = tuple(self._events), tuple(self._messages), tuple(self._inbox)
        return Changes(*said, config, claim, versions, spare)
