"""What sandboxes of the pool say before a session has them: that they are there. Nothing of it is kept."""

from collections.abc import Callable
from datetime import datetime

from opensessions.access import tokens
from opensessions.errors import EventGap
from opensessions.events import Ack, EventBatch, Prepare
from opensessions.models import AgentConfig
from opensessions.pool.spares import Spare, Spares
from opensessions.sessions import tickets
from opensessions.sessions.draft import decided


class Unassigned:
    """Thread-safe and blocking. `None` is the answer to who is no spare, or is none any more."""

    def __init__(
        self,
        spares: Spares,
        *,
        clock: Callable[[], datetime],
        preview_url: Callable[[str, int | str], str],
    ) -> None:
        self._spares, self._clock, self._preview_url = spares, clock, preview_url

    def spare(self, token: str) -> Spare | None:
        """The spare whose worker holds this token."""
        sandbox_id = tokens.sandbox_of(token)
        spare = self._spares.find(sandbox_id) if sandbox_id else None
        return spare if spare and tokens.matches(token, spare.tokens.get("worker")) else None

    def holds(self, spare: Spare) -> bool:
        """Whether a sandbox is still in its slot; the cheapest read."""
        found = self._spares.at(spare.slot)
        return found is not None and found.sandbox_id == spare.sandbox_id

    def prepare(self, spare: Spare) -> Prepare:
        """What a spare is told: all that most sessions have in common."""
        usual = AgentConfig()
        url = self._preview_url(spare.sandbox_id, "{port}")
        return Prepare(preview_url=url, tools=list(usual.allowed_tools), max_turns=usual.max_turns)

    def boot(self, ticket: str, address: str, nonce: str | None) -> str | None:
        """The token for a boot ticket, by the rules of `Testimony.boot`; a thief ends the spare."""
        return decided(lambda: self._boot(ticket, address, nonce))

    def heard(self, token: str, batch: EventBatch) -> Ack | None:
        """Count what a spare says. One that has nothing more to make ready is `ready`. Raises EventGap."""
        return decided(lambda: self._heard(token, batch))

    def _heard(self, token: str, batch: EventBatch) -> Ack | None:
        spare = self.spare(token)
        if spare is None:
            return None
        if batch.first_seq > spare.said + 1:
            raise EventGap(spare.said + 1, batch.first_seq)
        said = max(spare.said, batch.first_seq + len(batch.events) - 1)
        state = "ready" if batch.state == "idle" else spare.state
        after = spare.model_copy(update={"said": said, "state": state})
        if after != spare:
            self._spares.change(spare, after)
        return Ack(acked=said, expected=said + 1)

    def _boot(self, ticket: str, address: str, nonce: str | None) -> str | None:
        sandbox_id = tokens.sandbox_of(ticket)
        spare = self._spares.find(sandbox_id) if sandbox_id else None
        if spare is None:
            return None
        try:
            bought = tickets.buy(ticket, nonce, spare.tokens, spare.launched_at, self._clock())
        except tickets.Stolen:
            self._spares.drop(spare)
            return None
        if bought and bought.hashes != spare.tokens:
            after = {"tokens": dict(bought.hashes), "address": address}
            self._spares.change(spare, spare.model_copy(update=after))
        return bought.token if bought else None
