"""A session's way from a request to the end of its turn, as spans of one trace. Nobody listens by default,
and then nothing is kept or done.

What goes on after the request finds its trace by the session: `Session.traces` has a W3C `traceparent` for
each message that is not answered yet. No text of a caller or an agent is ever part of a span.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any, Protocol

from opensessions.events import TurnComplete
from opensessions.models import SandboxStatus, Session

REMEMBERED = 32
"""Messages that wait and whose traces a session knows."""
SESSION = "gen_ai.conversation.id"

Attributes = Mapping[str, Any]


class Listener(Protocol):
    """Where spans go. Thread-safe; never raises. The present span is the one that was begun last here."""

    def span(
        self, name: str, parent: str | None, attributes: Attributes, *, serving: bool
    ) -> AbstractContextManager[dict[str, Any]]:
        """A span below `parent`, or the present one, that ends with the context; what is put into the
        dictionary meanwhile becomes part of it.
        """
        ...

    def record(
        self, name: str, parent: str, began: datetime, ended: datetime, attributes: Attributes
    ) -> None:
        """A span that is over."""
        ...

    def present(self, attributes: Attributes) -> str:
        """The present span as a `traceparent`, after these became part of it; "" when there is none."""
        ...


_listener: Listener | None = None


def listen(listener: Listener | None) -> None:
    """From now on spans go there; at the start of a process."""
    global _listener
    _listener = listener


def wanted() -> bool:
    """Whether anybody listens."""
    return _listener is not None


@contextmanager
def span(
    name: str,
    session_id: str = "",
    parent: str | None = None,
    attributes: Attributes | None = None,
    *,
    serving: bool = False,
) -> Iterator[dict[str, Any]]:
    """A piece of work, and a place for what else is known of it at its end."""
    if _listener is None:
        yield {}
        return
    told = {**(attributes or {}), **_named(session_id)}
    with _listener.span(name, parent, told, serving=serving) as more:
        yield more


def asked(session: Session, message_id: str) -> Session:
    """The session, which remembers the present trace for a new message."""
    if _listener is None or not (present := _listener.present(_named(session.id))):
        return session
    newest = list(session.traces.items())[1 - REMEMBERED :]
    return session.model_copy(update={"traces": dict([*newest, (message_id, present)])})


def trace_of(session: Session) -> str | None:
    """The trace of the running turn, or of the next one."""
    return next(iter(session.traces.values()), None)


def heard(before: Session, after: Session, said: Sequence[object], began: datetime, now: datetime) -> None:
    """A sandbox's events were stored; some of them are the end of something."""
    if _listener is None or (parent := trace_of(before)) is None:
        return
    named = _named(before.id)
    _listener.record("store events", parent, began, now, {**named, "opensessions.events": len(said)})
    status = before.head.sandbox_status, after.head.sandbox_status
    if status == (SandboxStatus.STARTING, SandboxStatus.RUNNING):
        _listener.record("boot", parent, before.launched_at, now, named)
    for event in said:
        if isinstance(event, TurnComplete):
            since = before.head.turn_at or before.launched_at
            _listener.record("turn", parent, since, now, {**named, "opensessions.reason": event.reason})


def _named(session_id: str) -> dict[str, Any]:
    return {SESSION: session_id} if session_id else {}
