"""What sessions use is metered: model calls before and after each, sandboxes' time and egress."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from opensessions.access.bearers import bearer
from opensessions.errors import InvalidRequest, OverBudget, RateLimited, Unauthorized
from opensessions.models import Limits, NewSession, Session, Status, timestamp
from opensessions.money import budgets
from opensessions.money.allowances import Allowances
from opensessions.money.budgets import Standing
from opensessions.money.ledger import Allowance, Amounts, Bound, Call, Ledger, Meter
from opensessions.money.prices import Prices
from opensessions.money.usage import Usage
from opensessions.notices import LimitReached
from opensessions.ports import Later, SessionStore
from opensessions.sessions import halting
from opensessions.sessions.draft import Draft, decided
from opensessions.sessions.lifecycle import HALT

LOST_AFTER = timedelta(minutes=15)
"""A call that was not settled after so long is given up."""
LOST_AFTER_END = timedelta(minutes=1)
"""The same, once its sandbox is gone."""


class Metering:
    """Thread-safe and blocking. `wake` is told the id of each session whose watchers were told something,
    `later` has a session looked at that should be asleep by then.
    """

    def __init__(
        self,
        store: SessionStore,
        ledger: Ledger,
        allowances: Allowances,
        prices: Prices,
        *,
        clock: Callable[[], datetime],
        wake: Callable[[str], None],
        later: Later,
    ) -> None:
        self._store, self._ledger, self.allowances, self.prices = store, ledger, allowances, prices
        self._clock, self._wake, self._later = clock, wake, later
        self.usage = Usage(ledger, clock)

    def reserve(
        self,
        token: str,
        call_id: str,
        model: str,
        input_tokens: int,
        max_tokens: int,
        fallbacks: Sequence[str] = (),
    ) -> None:
        """Leave for a call of a model, by the sandbox with this model token: what it may use at most is set
        aside. Again, for the same id: no change.

        Raises Unauthorized; OverBudget when a budget is used up, which ends the session's work, and when
        money is bounded and the model has no known price; RateLimited while other calls under way leave no
        room.
        """
        session = bearer(self._store, token, "model")
        if session is None:
            raise Unauthorized("The sandbox's token is not known (any more).")
        user, account = self._allowed(session)
        counted = budgets.budgets(session, user, account, self._clock())
        worst = self.prices.worst(model, input_tokens, max_tokens, fallbacks)
        if worst.unpriced and budgets.needs_price([bound for _, bound in counted]):
            raise OverBudget(f"The price of {model} is not known, so it cannot be held to a limit of money.")
        meters = tuple((meter, budgets.with_room_for(worst, bound)) for meter, bound in counted)
        try:
            self._ledger.reserve(Call(call_id, session.id, worst, meters, self._clock()))
        except OverBudget:
            raise self._refusal(session, counted) from None

    def settle(
        self, session_id: str, call_id: str, model: str, usage: Mapping[str, Any] | None, estimated: bool
    ) -> None:
        """What a call used, as the Messages API told it: `{}` nothing, None: nobody knows, so that what was
        set aside for it counts. Watchers are told of budgets that this brings near their end, and past it.
        Again, and for a call that is not known: no change.
        """
        if usage is None:
            self._give_up(session_id, call_id)
            return
        used = self.prices.priced(model, usage) if usage else Amounts()
        self._settled(session_id, call_id, used.model_copy(update={"lost": 1}) if estimated else used)

    def give_up_lost(self, session: Session) -> bool:
        """Settle the calls of a session of whose end nobody will tell, as what they could use at most: those
        that began long ago, or a minute ago if there is no sandbox any more. Whether none is left.
        """
        now = self._clock()
        calls = self._ledger.open_calls(session.id, now + timedelta(seconds=1))
        lost = [
            call for call in calls if now - call.began_at >= (LOST_AFTER if session.live else LOST_AFTER_END)
        ]
        for call in lost:
            self._settled(session.id, call.id, call.lost)
        return len(lost) == len(calls)

    def egress(self, session_id: str, entry_id: str, count: int) -> int | None:
        """Record bytes that a session's sandboxes sent and received, once for an `entry_id`. How many more
        they may; None: there is no bound. Of a session that is not known (any more) nothing is recorded.
        """
        session = self._store.get(session_id)
        if session is None:
            return 0
        if count:
            meters = budgets.meters_of(session, self._clock())
            self._ledger.record(session_id, f"egress-{entry_id}", meters, Amounts(egress_bytes=count))
        allowed = session.limits.egress_bytes
        if allowed is None:
            return None
        left = max(0, allowed - self.used(session).egress_bytes)
        if not left:
            self._tell_of_egress(session, allowed)
        return left

    def ran(self, session: Session, until: datetime | None = None) -> None:
        """Record for how long the sandbox of a session's present launch ran, once: `until` it was seen to be
        gone, or else until the session says that it ended. Of one that runs still, nothing is recorded.
        """
        end = until or session.ran_until
        if end is None:
            return
        milliseconds = max(0, round((end - session.launched_at) / timedelta(milliseconds=1)))
        amounts = Amounts(sandbox_milliseconds=milliseconds)
        self._ledger.record(session.id, f"launch-{session.launch}", budgets.meters_of(session, end), amounts)

    def stored(self, session: Session, until: datetime) -> None:
        """Record the bytes of a session's archives since that was last done, by the hour. Whoever calls it
        commits `until` as `stored_at`; until then, it is recorded once.
        """
        if session.stored_at is None or not session.archives:
            return
        hours = max(timedelta(0), until - session.stored_at) / timedelta(hours=1)
        amounts = Amounts(stored_byte_hours=round(sum(each.size for each in session.archives) * hours))
        entry_id = f"stored-{timestamp(session.stored_at)}"
        self._ledger.record(session.id, entry_id, budgets.meters_of(session, until), amounts)

    def close(self, session: Session) -> None:
        """Record the last of what a session that has ended used. After this nothing of it is recorded any
        more, whatever is forgotten.
        """

        def decide() -> None:
            now = self._store.get(session.id)
            if now is None or now.ran_until is now.stored_at is None:
                return
            self.ran(now)
            self.stored(now, self._clock())
            self._store.commit(now, now.model_copy(update={"ran_until": None, "stored_at": None}))

        decided(decide)

    def admit(self, account: str, request: NewSession) -> None:
        """Whether a session may be created. Raises OverBudget when an allowance is used up, InvalidRequest
        when money is what bounds it and its model has no known price.
        """
        self._check_price(request.config.model, request.limits)
        model = request.config.model
        if self._unpriced(model) and self.allowances.of_money(account, request.user_id):
            reason = f"The price of {model} is not known, and what this user may spend is bounded."
            raise InvalidRequest(reason, "agent_config.model")
        self.allowances.check(account, request.user_id)

    def admit_message(self, session: Session) -> None:
        """Whether a session may take a message. Raises OverBudget; one whose budget is used up, or its user's
        by other sessions, is told so and halted as if a call of it had been refused.
        """
        turns = session.limits.turns
        if turns is not None and session.asked >= turns:
            reason = f"The {turns} turns of this session are used up: raise its limit to go on."
            raise OverBudget(reason, "session.turns")
        try:
            self.allowances.check(session.account, session.user_id, session)
        except OverBudget:
            user, account = self._allowed(session)
            self._refusal(session, budgets.budgets(session, user, account, self._clock()))
            raise

    def limited(self, session: Session, limits: Limits) -> Session:
        """The session with other limits. Raises InvalidRequest for money if its model has no known price."""
        self._check_price(session.model, limits)
        return session.model_copy(update={"limits": limits})

    def used(self, session: Session) -> Amounts:
        """What a session has used in all."""
        return self._ledger.read(Meter(session.account, session.id))

    def turn(self, session: Session, number: int) -> Amounts:
        """What one turn of a session has used."""
        return self._ledger.read(Meter(session.account, session.id, turn=number))

    def turns(self, session_id: str) -> dict[int, Amounts]:
        """What each turn used; those that used nothing are left out."""
        return self._ledger.turns(session_id)

    def purge(self, session_id: str) -> None:
        """Forget a session's own meters."""
        self._ledger.purge(session_id)

    def _check_price(self, model: str | None, limits: Limits) -> None:
        if limits.cost_usd is not None and self._unpriced(model):
            reason = f"The price of {model} is not known, so a limit of money would not hold; limit tokens."
            raise InvalidRequest(reason, "limits.cost_usd")

    def _unpriced(self, model: str | None) -> bool:
        return model is not None and self.prices.of(model) is None

    def _give_up(self, session_id: str, call_id: str) -> None:
        for call in self._ledger.open_calls(session_id, self._clock() + timedelta(seconds=1)):
            if call.id == call_id:
                self._settled(session_id, call_id, call.lost)

    def _settled(self, session_id: str, call_id: str, used: Amounts) -> None:
        meters = self._ledger.settle(session_id, call_id, used)
        session = self._store.get(session_id) if meters else None
        if session is not None:
            self._tell(session, [each for each in self._standings(session, meters or ()) if each.near])

    def _refusal(self, session: Session, counted: Sequence[tuple[Meter, Bound]]) -> OverBudget | RateLimited:
        """Why a call gets no leave. That a budget is used up ends the session's work; that others' calls may
        yet use it up does not.
        """
        meters = [(meter, self._ledger.read(meter)) for meter, bound in counted if bound != budgets.NO_BOUND]
        found = [each for each in self._standings(session, meters) if each.near]
        self._tell(session, found)
        if met := next((each for each in found if each.met), None):
            return OverBudget(met.sentence(), met.name)
        return RateLimited("Other calls under way may use up what is left of the budget; try again.", 1)

    def _standings(self, session: Session, meters: Sequence[tuple[Meter, Amounts]]) -> list[Standing]:
        user, account = self._allowed(session)
        return [
            standing
            for meter, used in meters
            for standing in budgets.standings(meter, used, budgets.bound_of(meter, session, user, account))
        ]

    def _allowed(self, session: Session) -> tuple[Allowance, Allowance]:
        return (
            self.allowances.user(session.account, session.user_id),
            self.allowances.account(session.account),
        )

    def _tell(self, session: Session, near: Sequence[Standing]) -> None:
        """Tell a session's watchers of each budget once, and halt the session when one is used up."""
        if not near:
            return

        def decide() -> Session | None:
            now = self._store.get(session.id)
            if now is None or now.head.status is Status.ENDED:
                return None
            draft = Draft(now, self._clock())
            said = budgets.tell(draft, near, self._clock())
            halts = any(each.met for each in near) and now.live and now.halting_at is None
            if halts:
                halting.begin(draft, self._clock())
            return self._store.commit(now, draft.session, draft.changes()) if said or halts else None

        if saved := decided(decide):
            if saved.halting_at is not None:
                self._later(saved.sandbox_id, saved.launch, HALT.seconds + 1)
            self._wake(saved.id)

    def _tell_of_egress(self, session: Session, allowed: int) -> None:
        def decide() -> Session | None:
            now = self._store.get(session.id)
            if now is None or not now.live or now.told.get("egress_bytes") == allowed:
                return None
            draft = Draft(
                now.model_copy(update={"told": {**now.told, "egress_bytes": allowed}}), self._clock()
            )
            message = f"The session has sent and received the {allowed:,} bytes that it may; no more passes."
            draft.say(LimitReached(limit="egress_bytes", allowed=allowed, message=message), "warning")
            return self._store.commit(now, draft.session, draft.changes())

        if decided(decide):
            self._wake(session.id)
