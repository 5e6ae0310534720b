"""Everything that can go wrong, as one tree. Messages are written for the caller; none holds a secret.

OpenSessionsError
├── InvalidRequest      a value the caller sent is wrong; `field` names it
├── Unauthorized        no key or token, or one that is not known (any more); `former` is whose it was
├── Forbidden           known, and not allowed to do this
├── NotFound            unknown, or another's: the two are told apart nowhere
├── Conflict            legal in itself, but not now
│   ├── IdempotencyMismatch  the key was used with another request
│   └── EventGap        a sandbox skipped a number; `expected` is the one to continue with
├── TooLarge            over a documented bound
├── RateLimited         a quota is used up; `retry_after` is in seconds
├── OverBudget          money or tokens are used up; `what` names the bound that was met
├── LaunchFailed        the sandbox could not be started
│   └── NoCapacity      not now, but probably soon
└── StoreError          raised by stores for the service, which acts on them
    ├── Stale           another writer changed the session first: load it again and decide again
    ├── AlreadyClaimed  the idempotency key was claimed by another request meanwhile
    └── SpareGone       another session took the pool's sandbox, or it is lost
"""


class OpenSessionsError(Exception):
    """Base of all; `str(error)` is a sentence that may be shown to the caller."""


class InvalidRequest(OpenSessionsError):
    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Unauthorized(OpenSessionsError):
    def __init__(self, message: str, former: object = None) -> None:
        super().__init__(message)
        self.former = former


class Forbidden(OpenSessionsError):
    pass


class NotFound(OpenSessionsError):
    pass


class Conflict(OpenSessionsError):
    pass


class IdempotencyMismatch(Conflict):
    pass


class EventGap(Conflict):
    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"Event {expected} is expected next, not {got}; send from {expected} on.")
        self.expected = expected


class TooLarge(OpenSessionsError):
    pass


class RateLimited(OpenSessionsError):
    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverBudget(OpenSessionsError):
    def __init__(self, message: str, what: object = None) -> None:
        super().__init__(message)
        self.what = what


class LaunchFailed(OpenSessionsError):
    pass


class NoCapacity(LaunchFailed):
    pass


class StoreError(OpenSessionsError):
    pass


class Stale(StoreError):
    pass


class AlreadyClaimed(StoreError):
    pass


class SpareGone(StoreError):
    pass
