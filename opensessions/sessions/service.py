"""What callers may do with sessions.

Every method loads a session, decides by pure functions and commits once; when another writer was first it
decides again. So a crash between any two calls leaves a session as it was before or after a commit, and the
supervisor's sweep finishes what was left.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from opensessions import traces
from opensessions.access import tokens
from opensessions.access.admission import Admission
from opensessions.access.model_keys import ModelKeys
from opensessions.errors import AlreadyClaimed, Conflict, InvalidRequest, RateLimited, SpareGone
from opensessions.events import Interrupt, Restore, SandboxReady
from opensessions.events import Message as FollowUp
from opensessions.models import Claim, Head, NewSession, SandboxStatus, Session, Status, Version
from opensessions.money import budgets
from opensessions.money.metering import Metering
from opensessions.notices import SessionStarted, UserMessage, Woken
from opensessions.pool.spares import Spare
from opensessions.ports import SessionStore
from opensessions.sessions import idempotency, lifecycle, revival, titles
from opensessions.sessions.draft import Draft, decided
from opensessions.sessions.keeping import Keeper, folder
from opensessions.sessions.reading import Reading
from opensessions.sessions.supervisor import Supervisor
from opensessions.sessions.templates import Templates
from opensessions.webhooks.endpoints import Webhooks


@dataclass(frozen=True, slots=True)
class Quota:
    """What one account may do: `live` sandboxes at once, `creates` new sessions a minute."""

    live: int = 10
    creates: int = 60


class Service(Reading):
    """Sessions of all accounts. Thread-safe; every method is a plain, blocking call.

    `clock` tells the time, `new_id` gives 128 random bits in hex, `wake` is told the id of each session
    that got something new, and `preview_url(sandbox_id, port)` names a port's public address.
    `narrows_egress` tells whether a session's `allowed_hosts` would hold, `private_previews` whether previews
    can be kept from strangers; where not, they are refused. `models` are those that sessions may name (None:
    any); `model_keys` is None where accounts have no keys of their own.
    """

    def __init__(
        self,
        store: SessionStore,
        supervisor: Supervisor,
        keeper: Keeper,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
        preview_url: Callable[[str, int | str], str],
        wake: Callable[[str], None],
        quota: Quota,
        webhooks: Webhooks,
        admission: Admission,
        metering: Metering,
        narrows_egress: bool = True,
        private_previews: bool = True,
        models: frozenset[str] | None = None,
        model_keys: ModelKeys | None = None,
    ) -> None:
        super().__init__(store, admission)
        self.templates = Templates(store, keeper, clock=clock, new_id=new_id, wake=wake)
        self.webhooks = webhooks
        self._supervisor, self._keeper, self.preview_url = supervisor, keeper, preview_url
        self._clock, self._new_id, self._wake, self._quota = clock, new_id, wake, quota
        self._narrows_egress, self._private_previews = narrows_egress, private_previews
        self._models, self.model_keys = models, model_keys
        self.metering = metering

    def create(self, account: str, request: NewSession, idempotency_key: str | None = None) -> Session:
        """Start a session; its sandbox is on the way when this returns.

        The same key with the same request returns the session that exists. Raises IdempotencyMismatch for
        another request under the key, RateLimited over a quota, OverBudget when its user or its account may
        spend no more, InvalidRequest for `allowed_hosts`, a private preview or a limit of money that would
        not hold, NotFound and Conflict for an origin that is not there or not ready; then nothing is created.
        """
        if request.config.allowed_hosts is not None and not self._narrows_egress:
            reason = "This deployment's network is open, where allowed_hosts would not hold; leave it out."
            raise InvalidRequest(reason, "agent_config.allowed_hosts")
        if request.config.preview == "private" and not self._private_previews:
            reason = "All previews of this deployment share one name, so none can be private; leave it out."
            raise InvalidRequest(reason, "agent_config.preview")
        if self._models is not None and request.config.model not in (None, *self._models):
            known = ", ".join(sorted(self._models))
            reason = f"agent_config.model must be one of this server's models: {known}."
            raise InvalidRequest(reason, "agent_config.model")
        claim = idempotency.claim(account, idempotency_key, "create", request.model_dump_json())
        if (replayed := idempotency.replayed(self._store, claim)) is not None:
            return replayed
        self.metering.admit(account, request)
        self._count_create(account)
        new = self._new(account, f"sb-{self._new_id()}", request)
        token = tokens.worker_token(new.sandbox_id)
        new, hook = self.webhooks.subscribed(new, request.hook)
        try:
            begun, versions = self._from_origin(new, request)
            claim = claim and replace(claim, session_id=new.id)
            session = self._begun_warm(begun, request, claim) or self._begun(
                self._started(begun, token), request, claim, versions
            )
        except BaseException as refusal:
            if request.origin:
                self._keeper.drop(folder(new.id))
            self.webhooks.drop(hook)
            if isinstance(refusal, AlreadyClaimed):
                return idempotency.replayed_now(self._store, claim)
            raise
        if session.pooled:
            return self._supervisor.pool.taken(session)
        return self._supervisor.launch(session, token)

    def send(
        self, account: str, session_id: str, user_id: str, text: str, idempotency_key: str | None = None
    ) -> Session:
        """Give the agent a follow-up: queued while a turn runs; a session in `error` runs again.

        Raises NotFound, Conflict when the session has ended, IdempotencyMismatch, RateLimited and OverBudget.
        """
        asked = json.dumps([session_id, user_id, text])
        claim = idempotency.claim(account, idempotency_key, "send", asked)
        claim = claim and replace(claim, session_id=session_id)

        def decide() -> tuple[Session, str | None]:
            before = self._open(account, session_id, user_id)
            if (replayed := idempotency.replayed(self._store, claim)) is not None:
                return replayed, None
            self.metering.admit_message(before)
            draft, token = self._awake(before, "message")
            queued = before.live and before.head.status is Status.RUNNING
            self._ask(draft, text, queued=queued, launching=token is not None)
            try:
                changes = draft.changes(claim=claim)
                return self._store.commit(before, draft.session, changes, max_live=self._quota.live), token
            except AlreadyClaimed:
                return idempotency.replayed_now(self._store, claim), None

        session, token = decided(decide)
        if token:
            return self._supervisor.launch(session, token)
        self._wake(session_id)
        return session

    def interrupt(self, account: str, session_id: str, user_id: str | None = None) -> Session:
        """Stop the running turn; the session goes on. Nothing runs: no change. Raises NotFound and
        Conflict.
        """

        def decide() -> Session:
            session = self._open(account, session_id, user_id)
            if not session.live or session.head.status is not Status.RUNNING:
                return session
            draft = Draft(session, self._clock())
            draft.send(Interrupt())
            return self._store.commit(session, draft.session, draft.changes())

        session = decided(decide)
        self._wake(session_id)
        return session

    def end(self, account: str, session_id: str, user_id: str | None = None) -> Session:
        """End a session in whatever state; on return nothing of its sandbox runs. Again: no change."""
        self.read(account, session_id, user_id)
        return self._supervisor.end(session_id)

    def purge(self, account: str, session_id: str, user_id: str | None = None) -> None:
        """End a session and delete all of it: its events, messages, files and archives. Raises NotFound,
        also for one that was purged before.
        """
        self.read(account, session_id, user_id)
        self._supervisor.purge(session_id)

    def hibernate(self, account: str, session_id: str, user_id: str | None = None) -> Session:
        """Send a session to sleep: its sandbox packs everything and ends. Asleep already, or on the way to
        it: no change. Raises NotFound, and Conflict while the agent works or when there is no sandbox.
        """

        def decide() -> Session:
            session = self._open(account, session_id, user_id)
            asleep = session.head.sandbox_status is SandboxStatus.HIBERNATED
            if asleep or session.hibernating is not None:
                return session
            if not session.live:
                raise Conflict("The session has no sandbox that could sleep; a message starts one.")
            if session.head.status is Status.RUNNING:
                raise Conflict("The agent is at work; interrupt it first, or wait until it is ready.")
            if not lifecycle.may_sleep(session):
                raise Conflict("The session is just waking up; try again once its sandbox runs.")
            return self._supervisor.hibernate(session)

        session = decided(decide)
        self._wake(session_id)
        return session

    def restore(self, account: str, session_id: str, number: int, user_id: str | None = None) -> Session:
        """Go back to a version, files and conversation; a sleeping session wakes for it. Nothing that was
        said is taken back. Raises NotFound, and Conflict while the agent works or when the session has
        ended.
        """

        def decide() -> tuple[Session, str | None]:
            before = self._open(account, session_id, user_id)
            if before.live and before.head.status is Status.RUNNING:
                raise Conflict("The agent is at work; interrupt it first, or wait until it is ready.")
            version = self.version(session_id, number)
            draft, token = self._awake(before, "restore")
            back = Restore(version=number, commit=version.commit, claude_session_id=version.claude_session_id)
            if token:
                revival.begin(draft, [back])
            else:
                draft.ask(back)
            changes = draft.changes()
            return self._store.commit(before, draft.session, changes, max_live=self._quota.live), token

        session, token = decided(decide)
        if token:
            return self._supervisor.launch(session, token)
        self._wake(session_id)
        return session

    def limit(
        self, account: str, session_id: str, changes: Mapping[str, Any], user_id: str | None = None
    ) -> Session:
        """Change some of a session's limits, from now on. One whose budget was used up takes messages again
        when there is something left. Raises NotFound, Conflict when it has ended, and InvalidRequest for a
        limit of money that would not hold.
        """

        def decide() -> Session:
            session = self._open(account, session_id, user_id)
            after = self.metering.limited(session, session.limits.model_copy(update=changes))
            return self._store.commit(session, self._supervisor.watched(after))

        return decided(decide)

    def diff(self, session_id: str, number: int) -> str:
        """What a version changed, as git tells it; cut if it is long. Raises NotFound."""
        return self._keeper.diff(session_id, self.version(session_id, number).number)

    def _begun_warm(self, new: Session, request: NewSession, claim: Claim | None) -> Session | None:
        """The session with a sandbox of the pool, if that has one: empty, which one with an origin is not."""
        for spare in () if request.origin else self._supervisor.pool.ready():
            session = self._supervisor.watched(self._supervisor.pool.assigned(new, spare))
            with suppress(SpareGone):
                return self._begun(session, request, claim, spare=spare)
        return None

    def _begun(
        self,
        session: Session,
        request: NewSession,
        claim: Claim | None,
        versions: tuple[Version, ...] = (),
        spare: Spare | None = None,
    ) -> Session:
        draft = Draft(session, session.created_at)
        draft.say(SessionStarted())
        self._ask(draft, request.prompt, queued=False, launching=True)
        if spare:
            draft.say(SandboxReady())
        changes = draft.changes(request.config, claim, versions, spare)
        return self._store.commit(None, draft.session, changes, max_live=self._quota.live)

    def _from_origin(self, new: Session, request: NewSession) -> tuple[Session, tuple[Version, ...]]:
        """The new session with what it begins with, copied for it alone."""
        origin = request.origin
        if origin is None:
            return new, ()
        if origin.template_id is not None:
            return self.templates.start(new.account, new, origin.template_id), ()
        parent = self.read(new.account, origin.session_id or "", request.user_id)
        return self.templates.branch(parent, new, origin)

    def _awake(self, before: Session, reason: Literal["message", "restore"]) -> tuple[Draft, str | None]:
        """A draft of the session at work, and the token of the launch that it needs, if it has no sandbox."""
        stays = {"hibernating": None, "halting_at": None, "told": budgets.forgiven(before.told)}
        after = lifecycle.move(before, Status.RUNNING).model_copy(update=stays)
        if before.live:
            return Draft(lifecycle.turn_begun(after, self._clock()), self._clock()), None
        token = tokens.worker_token(before.sandbox_id)
        draft = Draft(self._started(after.model_copy(update={"losses": 0}), token), self._clock())
        if before.head.sandbox_status is SandboxStatus.HIBERNATED:
            draft.say(Woken(reason=reason))
        return draft, token

    def _new(self, account: str, sandbox_id: str, request: NewSession) -> Session:
        now = self._clock()
        return Session(
            id=f"session_{self._new_id()}",
            account=account,
            user_id=request.user_id,
            user_email=request.user_email,
            user_name=request.user_name,
            sandbox_id=sandbox_id,
            title=titles.title(request.prompt),
            framework=titles.framework(request.prompt),
            metadata=request.metadata,
            model=request.config.model,
            allowed_hosts=request.config.allowed_hosts,
            preview=request.config.preview,
            limits=request.limits,
            launch=0,
            launched_at=now,
            stored_at=now,
            created_at=now,
            head=Head(updated_at=now),
        )

    def _started(self, session: Session, token: str) -> Session:
        """The session with a sandbox about to be launched, which begins with the next inbox item."""
        self.metering.ran(session)
        begun = lifecycle.begun(session)
        return self._supervisor.watched(lifecycle.launched(begun, tokens.token_hashes(token), self._clock()))

    def _ask(self, draft: Draft, text: str, *, queued: bool, launching: bool) -> None:
        message_id = f"msg_{self._new_id()}"
        session = traces.asked(draft.session, message_id)
        draft.session = session.model_copy(update={"asked": session.asked + 1})
        draft.message(message_id, "user", text)
        draft.say(UserMessage(message_id=message_id, text=text, queued=queued))
        if not launching:
            draft.ask(FollowUp(message_id=message_id, text=text))
            return
        draft.ask(revival.assignment(draft.session, message_id, text))

    def _open(self, account: str, session_id: str, user_id: str | None) -> Session:
        session = self.read(account, session_id, user_id)
        if session.head.status is Status.ENDED:
            raise Conflict("The session has ended; create a new one.")
        return session

    def _count_create(self, account: str) -> None:
        now = self._clock()
        if self._store.count(f"creates:{account}", 60, now) > self._quota.creates:
            wait = 60 - int(now.timestamp()) % 60
            reason = f"Over {self._quota.creates} new sessions a minute; try again in {wait} s."
            raise RateLimited(reason, wait)
