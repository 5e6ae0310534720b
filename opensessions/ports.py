"""The three doors to the world outside. Whoever implements one keeps what its docstrings say, and is held
to it by the contract suite in `tests/contract`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from opensessions.events import InboxItem
from opensessions.models import (
    NOTHING,
    AgentConfig,
    Changes,
    Claim,
    Event,
    Message,
    Page,
    Session,
    Template,
    Version,
)


class SessionStore(Protocol):
    """Sessions and all that belongs to them. Durable: what returned is there after a crash.

    Reads that follow a write in the same process see it. All methods are safe to call from many threads.
    """

    def commit(
        self,
        before: Session | None,
        after: Session,
        changes: Changes = NOTHING,
        *,
        max_live: int | None = None,
    ) -> Session:
        """Write `after` and everything in `changes`, all or nothing, if the session is still as `before` was.

        `before` None creates the session. Returns `after` with its head's `rev` raised by one. A commit
        that only appends events touches the head and what holds the batch, nothing else: no index, no other
        item.

        Events continue `before.head.last_seq` without a gap, and inbox items `before.head.inbox_seq`; the
        caller has put the new ends into `after.head`. When the session's sandbox goes from not live to
        live, and `max_live` is given, the account's live sessions stay at most `max_live`; when it goes the
        other way one is given back.

        A `changes.spare` leaves the pool in the same write.

        Raises Stale when `before.head.rev` is no longer current or the session exists already;
        AlreadyClaimed when `changes.claim` names a key that is in use; RateLimited when `max_live` would be
        passed; SpareGone when the pool does not hold `changes.spare` as it is; TooLarge when an event or
        item is over what the store can hold. Nothing was written in any of these cases.
        """
        ...

    def get(self, session_id: str) -> Session | None:
        """The session as it is now. The cost does not grow with the session's age."""
        ...

    def find(self, sandbox_id: str) -> Session | None:
        """The session whose sandbox this is."""
        ...

    def config(self, session_id: str) -> AgentConfig:
        """What `changes.config` was at creation. Raises NotFound."""
        ...

    def events(self, session_id: str, after: int, limit: int) -> list[Event]:
        """At most `limit` events with `seq` > `after`, in order. The cost grows with what is returned
        alone.
        """
        ...

    def latest_events(self, session_id: str, limit: int) -> list[Event]:
        """The newest `limit` events, oldest first."""
        ...

    def messages(self, session_id: str, limit: int) -> list[Message]:
        """The newest `limit` messages, oldest first."""
        ...

    def inbox(self, sandbox_id: str, after: int, limit: int) -> list[tuple[int, InboxItem]]:
        """At most `limit` inbox items with a number > `after`, in order."""
        ...

    def versions(self, session_id: str, after: int, limit: int) -> list[Version]:
        """At most `limit` versions with a number > `after`, in order."""
        ...

    def version(self, session_id: str, number: int) -> Version | None:
        """One version."""
        ...

    def purge(self, session_id: str) -> None:
        """Delete a session and everything that belongs to it, the session itself last, so that a purge that
        was cut short can be done again. Idempotent, also for an unknown one.
        """
        ...

    def page(self, account: str, user_id: str | None, limit: int, cursor: str | None) -> Page:
        """Sessions of an account, or of one user of it, newest first. Raises InvalidRequest for a foreign
        cursor.
        """
        ...

    def claimed(self, account: str, key: str) -> Claim | None:
        """Who claimed an idempotency key in the last 24 hours, if anybody."""
        ...

    def count(self, key: str, window_seconds: int, now: datetime) -> int:
        """Add one to a counter that starts anew every `window_seconds`, and return it."""
        ...

    def due(self, now: datetime, limit: int) -> Sequence[str]:
        """Ids of sessions whose `due_at` has passed, most overdue first."""
        ...

    def put_template(self, template: Template) -> None:
        """Write a template whole, in place of what its account and id held."""
        ...

    def template(self, account: str, template_id: str) -> Template | None:
        """One template of an account."""
        ...

    def templates(self, account: str) -> list[Template]:
        """All templates of an account, oldest first."""
        ...

    def drop_template(self, account: str, template_id: str) -> None:
        """Forget a template. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class Launch:
    """A start of a sandbox: the `number`th of `sandbox_id`. `token` is the worker's secret: never logged,
    never in an argument, an environment or a file. A runtime that has no other way hands over
    `tokens.boot_ticket(token)` instead.
    """

    sandbox_id: str
    number: int
    token: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of launch `number` of a sandbox, and why it came, in words. `lacking`: it never began, for want
    of something of which there will probably be enough soon. `refused`: it never began, and another try would
    end like that too.
    """

    sandbox_id: str
    number: int
    reason: str
    lacking: bool = False
    refused: bool = False


class SandboxRuntime(Protocol):
    """Where sandboxes run. Nothing above it knows what a task, a process or a container is."""

    def launch(self, launch: Launch) -> None:
        """Start a sandbox; does not wait for its worker. Idempotent for a sandbox and number. Raises
        LaunchFailed; its NoCapacity when a later try may succeed.
        """
        ...

    def stop(self, sandbox_id: str) -> None:
        """End a sandbox. Idempotent, also for an unknown one; on return nothing of it runs or will run."""
        ...

    def alive(self, sandbox_id: str) -> bool:
        """Whether a launched sandbox still runs (or is on its way to)."""
        ...

    def running(self) -> Sequence[str]:
        """The ids of all sandboxes that run or are on their way to."""
        ...

    def ended(self) -> Sequence[Ended]:
        """What ended in the last minutes, of itself or by `stop`, told before or not; in any order. Empty for
        a runtime whose reports cannot get lost.
        """
        ...


Later = Callable[[str, int, int], None]
"""`later(sandbox_id, launch, seconds)`: see that `Supervisor.relaunch` is called with the first two,
`seconds` from now. A call that gets lost is made good for by the sweep."""


class BlobStore(Protocol):
    """Bytes too large for the session store. Keys and prefixes are paths without `..`, made by the service
    alone.
    """

    def put(self, key: str, data: bytes) -> None:
        """Store; on return it is durable. Again: replaced whole, never seen half."""
        ...

    def get(self, key: str) -> bytes | None:
        """What was put, or None."""
        ...

    def size(self, key: str) -> int | None:
        """How many bytes `get` would return, or None."""
        ...

    def names(self, prefix: str) -> list[str]:
        """The next steps of all keys that begin with `prefix` and a slash, each once, sorted: a folder's
        names.
        """
        ...

    def copy(self, source: str, target: str) -> None:
        """Copy all that lies beneath the prefix `source` to beneath `target`, however much it is. Both stay
        on their own. Cut short, it leaves some of it.
        """
        ...

    def delete(self, prefix: str) -> None:
        """Delete what `prefix` names and all that lies beneath it, older versions too. Idempotent."""
        ...

    def upload_url(self, key: str, size: int, sha256: str) -> str | None:
        """Where these very bytes can be PUT for a few minutes without any right, as `key`; None where the
        bytes have to be brought to `put`.
        """
        ...

    def download_url(self, key: str) -> str | None:
        """Where `key` can be fetched for a few minutes without any right; None: use `get`."""
        ...
