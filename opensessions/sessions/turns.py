"""Turns that are over: which message each answered, and what it used by the ledger, whatever the sandbox
says.
"""

from collections.abc import Sequence

from opensessions.events import Assign, Message, TurnComplete
from opensessions.models import Session
from opensessions.money.metering import Metering
from opensessions.notices import AnyEvent
from opensessions.ports import SessionStore

REMEMBERED = 32
"""How many messages a session remembers the turns of, until they are versions."""


def accounted(
    session: Session, said: Sequence[AnyEvent], store: SessionStore, metering: Metering
) -> tuple[Session, list[AnyEvent]]:
    """What a sandbox said, each turn that it ends with what that used; and the session before, but for which
    turns answered which messages.
    """
    events: list[AnyEvent] = []
    answered, last, turn = dict(session.answered), session.head.answered_seq, session.turns
    for event in said:
        if isinstance(event, TurnComplete):
            usage, seq = None, min(event.inbox_seq, session.head.inbox_seq)
            if seq > last:
                turn, last = turn + 1, seq
                usage = metering.turn(session, turn).shown()
                answered.update(dict.fromkeys(_message(session, seq, store), turn))
            event = event.model_copy(update={"usage": usage})
        events.append(event)
    newest = dict(list(answered.items())[-REMEMBERED:])
    waiting = {asked: trace for asked, trace in session.traces.items() if asked not in newest}
    return session.model_copy(update={"answered": newest, "traces": waiting}), events


def turn_of(session: Session, message_id: str | None) -> int | None:
    """The number of the turn that answered a message, or that answers it, if it is one of the newest."""
    return None if message_id is None else session.answered.get(message_id, session.turns + 1)


def _message(session: Session, seq: int, store: SessionStore) -> Sequence[str]:
    items = store.inbox(session.sandbox_id, max(session.assign_seq, seq) - 1, 1)
    asks = [item.message_id for number, item in items if number == seq and isinstance(item, Assign | Message)]
    return [message_id for message_id in asks if message_id is not None]
