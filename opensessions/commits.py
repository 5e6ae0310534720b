"""What every store does with a commit before it looks at what is stored."""

from itertools import pairwise

from opensessions.errors import RateLimited
from opensessions.models import Changes, Head, Session

_FIXED = ("id", "account", "user_id", "sandbox_id", "created_at")


def checked(before: Session | None, after: Session, changes: Changes) -> Session:
    """`after` with the rev that it is stored with.

    Raises ValueError when `after` and `changes` do not continue `before`: a gap or an overlap in events or
    inbox items, a head that does not end where they do, versions that are not new or that `after` does not
    count, or a changed identity.
    """
    head = before.head if before else Head(updated_at=after.head.updated_at)
    _check_run("events", head.last_seq, [event.seq for event in changes.events], after.head.last_seq)
    _check_run("inbox items", head.inbox_seq, [number for number, _ in changes.inbox], after.head.inbox_seq)
    _check_versions(before.versions if before else 0, [v.number for v in changes.versions], after.versions)
    if after.head.rev != head.rev:
        raise ValueError(f"{after.id}: rev is {after.head.rev}, not the {head.rev} that it was read with")
    for name in _FIXED if before else ():
        if getattr(before, name) != getattr(after, name):
            raise ValueError(f"{after.id}: {name} of a session never changes")
    return after.model_copy(update={"head": after.head.model_copy(update={"rev": after.head.rev + 1})})


def _check_run(what: str, last: int, numbers: list[int], end: int) -> None:
    if numbers != list(range(last + 1, last + 1 + len(numbers))):
        raise ValueError(f"{what} {numbers[0]}..{numbers[-1]} do not continue {last} one by one")
    if end != last + len(numbers):
        raise ValueError(f"{what} end at {last + len(numbers)}, but the head says {end}")


def _check_versions(last: int, numbers: list[int], end: int) -> None:
    """A session that begins with another's has the newest of that one's alone, so the first may be any."""
    ascending = [*numbers, end + 1]
    if any(one >= next for one, next in pairwise([last, *ascending])):
        raise ValueError(
            f"versions {numbers} do not go on from {last} up to the {end} that the session counts"
        )


def over_quota(max_live: int) -> RateLimited:
    return RateLimited(
        f"{max_live} sessions are live, which is all that this account may have: end one, or wait.", 30
    )
