"""What users and accounts may use in a day or a month, and whether anything of it is left."""

from collections.abc import Callable
from datetime import datetime

from opensessions.errors import OverBudget
from opensessions.models import Session
from opensessions.money.budgets import NO_BOUND, bound_of, nanodollars, smaller, standings, wallets
from opensessions.money.ledger import Allowance, Bound, Ledger, Meter


class Allowances:
    """Thread-safe and blocking. `day_cost_usd` is what the operator lets any account spend on models in a
    day, whatever else was set for it.
    """

    def __init__(
        self, ledger: Ledger, *, clock: Callable[[], datetime], day_cost_usd: float | None = None
    ) -> None:
        self._ledger, self._clock = ledger, clock
        self._any_day = NO_BOUND if day_cost_usd is None else Bound(nanodollars(day_cost_usd))

    def user(self, account: str, user_id: str) -> Allowance:
        """What was set for a user."""
        return self._ledger.allowance(account, user_id)

    def put_user(self, account: str, user_id: str, allowance: Allowance) -> None:
        """Set what a user may use, from now on."""
        self._ledger.put_allowance(account, user_id, allowance)

    def account(self, account: str) -> Allowance:
        """What holds an account with all its users."""
        own = self._ledger.allowance(account, None)
        return own.model_copy(update={"day": smaller(own.day, self._any_day)})

    def check(self, account: str, user_id: str, session: Session | None = None) -> None:
        """Raises OverBudget when the user's or the account's allowance or the session's budget is used up."""
        user, whole = self.user(account, user_id), self.account(account)
        own = (Meter(account, session.id),) if session else ()
        for meter in (*own, *wallets(account, user_id, self._clock())):
            bound = bound_of(meter, session, user, whole)
            if bound == NO_BOUND:
                continue
            for standing in standings(meter, self._ledger.read(meter), bound):
                if standing.met:
                    raise OverBudget(standing.sentence(), standing.name)

    def of_money(self, account: str, user_id: str) -> bool:
        """Whether money is what holds a user or an account, so that only models of known prices will do."""
        user, whole = self.user(account, user_id), self.account(account)
        return any(bound.nanodollars is not None for bound in (user.day, user.month, whole.day))
