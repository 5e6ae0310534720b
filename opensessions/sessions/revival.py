"""How a session gets a sandbox again: what that one is told first, and what of it was asked before."""

from collections.abc import Sequence
from datetime import datetime

from opensessions.events import Assign, InboxItem, Message, Restore
from opensessions.models import SandboxStatus, Session, Status
from opensessions.notices import SandboxLost
from opensessions.sessions import lifecycle
from opensessions.sessions.draft import Draft

Ask = Message | Restore


def assignment(session: Session, message_id: str | None = None, prompt: str | None = None) -> Assign:
    """The first item of a launch. What rarely changes is filled in when the sandbox reads it
    (`Testimony.inbox`).
    """
    return Assign(session_id=session.id, message_id=message_id, prompt=prompt, tools=[], preview_url="")


def unanswered(items: Sequence[tuple[int, InboxItem]]) -> list[Ask]:
    """What of these inbox items asks for a turn, in order."""
    asks: list[Ask] = []
    for _, item in items:
        if isinstance(item, Message | Restore):
            asks.append(item)
        elif isinstance(item, Assign) and item.prompt is not None and item.message_id is not None:
            asks.append(Message(message_id=item.message_id, text=item.prompt))
    return asks


def begin(draft: Draft, asks: Sequence[Ask] = ()) -> None:
    """Tell a new sandbox what it is for, and what it owes an answer to."""
    first, rest = (asks[0], asks[1:]) if asks else (None, asks)
    if isinstance(first, Message):
        draft.ask(assignment(draft.session, first.message_id, first.text))
    else:
        draft.send(assignment(draft.session))
        rest = asks
    for ask in rest:
        draft.ask(ask)


def lost(session: Session, asks: Sequence[Ask], reason: str, now: datetime) -> Draft:
    """A live session after its sandbox ended by itself: where something was asked, it waits for another
    sandbox, which does that anew; else it sleeps. Of a spare that was lost before it said a word nobody has
    noticed anything, so it does not count and nobody is told.
    """
    unnoticed = session.pooled and session.head.sandbox_status is SandboxStatus.STARTING
    works = session.head.status is Status.RUNNING and bool(asks)
    before = session.model_copy(update={"losses": session.losses + (not unnoticed)})
    begun = lifecycle.begun(before)
    after = lifecycle.launched(begun, {}, now) if works else lifecycle.asleep(before, now)
    draft = Draft(after, now)
    if not (unnoticed and works):
        draft.say(_loss(session, asks[0] if works else None, reason), "warning")
    if works:
        begin(draft, asks)
    return draft


def _loss(session: Session, again: Ask | None, reason: str) -> SandboxLost:
    version = session.version if session.archives else None
    nothing = "as they were kept last" if session.archives else "empty, because no turn was over"
    back = f"as they were after version {version}" if version else nothing
    if again is None:
        told = f"The session sleeps; its files are {back}. What was changed or started since is lost."
    else:
        told = f"Its files are {back}; what the running turn had done is lost, and it begins anew."
    message_id = again.message_id if isinstance(again, Message) else None
    return SandboxLost(message=f"{reason} {told}", version=version or None, message_id=message_id)
