"""What every line of the log has: the session that it is about, and no secret.

A piece of work (a request, an errand) has one subject, shared by all threads and tasks that it starts. So
whoever finds out whose token it is says so once, and all lines of that work have it.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SESSION = re.compile(r"session_[0-9a-f]{32}")
_SECRET = re.compile(
    r"os[bwsp]_\w{8,}|whsec_[\w+/=-]{8,}|sk-[\w-]{8,}|(?<=api_key=)[^&\s\"]+|(?<=token=)[^&\s\"]+"
    r"|(?<=input_value=).*?(?=, input_type=)|(?<=, value: ).*(?=, type: <class )"
)
"""The last two are what pydantic and botocore quote of a value that they refuse: it may be a prompt."""


class _Subject:
    __slots__ = ("session_id",)

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id


_subject: ContextVar[_Subject | None] = ContextVar("subject", default=None)


def begin(session_id: str = "") -> None:
    """Here begins a piece of work of its own, and lasts as long as the task or thread; it is about this
    session, or else about what the work around it is.
    """
    _subject.set(_Subject(session_id or current()))


def concerns(session_id: str) -> None:
    """The work that goes on here is about this session."""
    if subject := _subject.get():
        subject.session_id = session_id
    else:
        begin(session_id)


@contextmanager
def about(session_id: str = "") -> Iterator[None]:
    """A piece of work of its own, which is about this session; about none until `concerns` says so."""
    before = _subject.set(_Subject(session_id))
    try:
        yield
    finally:
        _subject.reset(before)


def current() -> str:
    """The session that the present work is about; "" when it is about none."""
    subject = _subject.get()
    return subject.session_id if subject else ""


def session_in(text: str) -> str:
    """The first session's id in a text, or ""."""
    found = _SESSION.search(text)
    return found[0] if found else ""


def hidden(text: str) -> str:
    """The text without secrets. That none is logged is for those to see to who log; this is the net below."""
    return _SECRET.sub("[redacted]", text)


class Subjects(logging.Filter):
    """Puts `session_id` on each record that is about a session: the one that it names, or that its work is
    about.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if session_id := session_in(record.getMessage()) or current():
            record.session_id = session_id
        return True


class Plain(logging.Formatter):
    """Lines for people, each of those about a session, of tracebacks too, with `session=session_…` in it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        text = hidden(super().format(record))
        session_id = getattr(record, "session_id", "")
        if not session_id:
            return text
        mark = f"session={session_id}"
        first, *more = text.split("\n")
        return "\n".join([f"{first} {mark}", *(f"{mark} {line}" for line in more)])
