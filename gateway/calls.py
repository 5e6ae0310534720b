"""Every call of a model is reserved before it is made, and settled once it is over: none goes unmetered."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from gateway.model_body import ModelCall
from gateway.model_failure import NO_TOKEN, Failure, Refused
from gateway.model_stream import NOTHING, Used
from gateway.telling import insist

log = logging.getLogger(__name__)

CALLBACK_PATH = "/callback/v1/calls"
LONGEST_NAME = 256
BYTES_PER_TOKEN = 3
"""No token of a JSON text in ASCII is shorter, on the whole."""

SETTLING_SECONDS = 2.0
"""How long the end of an answer, the session's next call and its events wait for calls to be settled."""
IN_ORDER_SECONDS = 60.0
"""How long one that cannot be settled holds up those after it."""

_AWAY = Failure(529, "overloaded_error", "What this call costs cannot be recorded just now. Try again.", True)
_BUSY = "Too many calls are recorded just now. Try again soon."
_SPENT = "There is nothing left of this session's budget. Raise its limits to go on."
_REFUSED = "This call was refused."


@dataclass(slots=True)
class Bill:
    """A call under way, of the model `asked`. Whoever makes it sets `model`, the one that answers, and `used`
    to what is known of it, as it goes on.
    """

    id: str
    session_id: str
    asked: str
    model: str = ""
    used: Used = NOTHING
    leave: asyncio.Task[None] | None = None
    settling: asyncio.Task[None] | None = None


class Calls:
    """Asks the callback's leave for each call, and tells it afterwards what was used.

    A call is refused when there is no leave, also because the callback does not answer. What was used is told
    after each of `pauses`, and then as often as the last one says, until it is heard; one session's calls in
    their order, and before that session's next call asks for leave. All methods belong to the event loop.
    """

    def __init__(
        self, callback: httpx2.AsyncClient, pauses: Sequence[float] = (0.1, 0.3, 1, 2, 5, 10, 30)
    ) -> None:
        self._callback, self._pauses = callback, pauses
        self._last: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether something is still to be told."""
        return bool(self._tasks)

    @asynccontextmanager
    async def metered(self, token: str, session_id: str, call: ModelCall) -> AsyncIterator[Bill]:
        """A place for one call; `token` is the sandbox's. Raises Refused when it may not be made."""
        bill = Bill(secrets.token_hex(16), session_id, call.model)
        bill.leave = self._start(self._reserve(token, bill, call))
        try:
            await asyncio.shield(bill.leave)
            yield bill
        finally:
            self._close(bill)

    async def settled(self, bill: Bill) -> None:
        """What a call used is known for good: it is told, if that does not take long, before this returns. Of
        a call that was only counted there is nothing to tell.
        """
        self._close(bill)
        if bill.settling:
            await asyncio.wait((bill.settling,), timeout=SETTLING_SECONDS)

    async def all_settled(self, session_id: str) -> None:
        """Returns once what a session's calls used is told, of those that are over; or after a while."""
        if last := self._last.get(session_id):
            await asyncio.wait((last,), timeout=SETTLING_SECONDS)

    async def aclose(self, within: float = 5) -> None:
        """Returns once all is told, or after so many seconds; what is untold then is never told."""
        if not self._tasks:
            return
        _, untold = await asyncio.wait(set(self._tasks), timeout=within)
        for task in untold:
            task.cancel()
        await asyncio.gather(*untold, return_exceptions=True)
        if untold:
            log.error("what %s model calls used could not be told; they count as lost", len(untold))

    def _close(self, bill: Bill) -> None:
        if bill.leave and bill.settling is None:
            settling = self._settle(bill, bill.leave, self._last.get(bill.session_id))
            bill.settling = self._last[bill.session_id] = self._start(settling)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _reserve(self, token: str, bill: Bill, call: ModelCall) -> None:
        await self.all_settled(bill.session_id)  # what the calls before did not use is free again
        body: dict[str, Any] = {
            "id": bill.id,
            "model": call.model,
            "input_tokens": -(-len(call.body) // BYTES_PER_TOKEN),
            "max_tokens": call.max_tokens,
        }
        if call.fallbacks:
            body["fallbacks"] = call.fallbacks
        answer = await self._asked(token, body)
        if not answer.is_success:
            raise _refusal(answer)

    async def _settle(self, bill: Bill, leave: asyncio.Task[None], before: asyncio.Task[None] | None) -> None:
        try:
            await asyncio.wait((leave,))
            if before:
                await asyncio.wait((before,), timeout=IN_ORDER_SECONDS)
            if not leave.cancelled() and _was_refused(leave.exception()):
                return
            body = {
                "session_id": bill.session_id,
                "model": (bill.model or bill.asked)[:LONGEST_NAME],
                "asked": bill.asked[:LONGEST_NAME],
                "usage": bill.used.usage,
                "estimated": bill.used.estimated,
            }
            path = f"{CALLBACK_PATH}/{bill.id}/settlement"
            await insist(self._callback, path, body, "what a model call used", self._pauses)
        finally:
            if self._last.get(bill.session_id) is asyncio.current_task():
                del self._last[bill.session_id]

    async def _asked(self, token: str, body: dict[str, Any]) -> httpx2.Response:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        try:
            answer = await self._callback.post(
                CALLBACK_PATH, content=json.dumps(body).encode(), headers=headers
            )
        except httpx2.HTTPError as error:
            log.warning("a model call could not be recorded: %s", type(error).__name__)
            raise Refused(_AWAY, "2") from None
        if answer.status_code >= 500:
            raise Refused(_AWAY, "2")
        return answer


def _was_refused(failure: BaseException | None) -> bool:
    """Whether nothing was set aside. Where nobody answered, it may have been."""
    return isinstance(failure, Refused) and failure.failure is not _AWAY


def _refusal(answer: httpx2.Response) -> Refused:
    """How the callback's refusal is told. Agents take a 402 for the end of a turn, and most others for
    something that may pass if they ask again.
    """
    if answer.status_code == 401:
        return Refused(NO_TOKEN)
    if answer.status_code == 429:
        return Refused(Failure(429, "rate_limit_error", _reason(answer) or _BUSY, True), "1")
    if answer.status_code == 402:
        return Refused(Failure(402, "billing_error", _reason(answer) or _SPENT))
    log.warning("the callback refused a model call (%s)", answer.status_code)
    return Refused(Failure(400, "invalid_request_error", _reason(answer) or _REFUSED))


def _reason(answer: httpx2.Response) -> str:
    with suppress(ValueError, KeyError, TypeError):
        return str(answer.json()["error"]["message"])
    return ""
