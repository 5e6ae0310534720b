"""Having sessions woken that somebody visits while they sleep."""

import asyncio
import logging
from collections.abc import Sequence

import httpx2

log = logging.getLogger(__name__)

CALLBACK_PATH = "/callback/v1/wakes"
REMEMBERED_SECONDS = 5.0
"""How long a wake that was asked for is not asked for again, and why one was refused is known."""
Sleep = tuple[str, int]
"""A session's id and its launch: one that has slept since then, or lost what was to be awake, sleeps anew."""


class Wakes:
    """Asks the callback, once for all who visit a session at a time, and again after each of `pauses` while
    it does not answer. Nobody waits for it. All methods belong to the event loop.
    """

    def __init__(self, callback: httpx2.AsyncClient, pauses: Sequence[float] = (0.5, 1, 2, 4)) -> None:
        self._callback, self._pauses = callback, pauses
        self._asking: dict[Sleep, asyncio.Task[None]] = {}
        self._refused: dict[Sleep, str] = {}

    def ask(self, sleep: Sleep) -> None:
        """Have a sleeping session woken; one that is awake stays as it is."""
        if sleep not in self._asking:
            task = asyncio.get_running_loop().create_task(self._wake(sleep), name=f"wake {sleep[0]}")
            self._asking[sleep] = task

    def asked(self, sleep: Sleep) -> bool:
        """Whether a session is being woken from this sleep, or was just now."""
        return sleep in self._asking

    def refusal(self, sleep: Sleep) -> str | None:
        """Why a session could not be woken just now, in a sentence."""
        return self._refused.get(sleep)

    async def aclose(self) -> None:
        """Ask for nothing any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wake(self, sleep: Sleep) -> None:
        try:
            for pause in (*self._pauses, None):
                if await self._post(sleep) or pause is None:
                    break
                await asyncio.sleep(pause)
            await asyncio.sleep(REMEMBERED_SECONDS)
        finally:
            self._refused.pop(sleep, None)
            del self._asking[sleep]

    async def _post(self, sleep: Sleep) -> bool:
        """Ask once; returns whether there was an answer that stands."""
        session_id, _ = sleep
        try:
            answer = await self._callback.post(CALLBACK_PATH, json={"session_id": session_id})
        except httpx2.HTTPError as error:
            log.warning("session %s could not be woken (%s)", session_id, type(error).__name__)
            return False
        if answer.status_code == 429:
            self._refused[sleep] = _reason(answer)
        elif not answer.is_success:
            log.warning("session %s could not be woken (%s)", session_id, answer.status_code)
        return answer.is_success or answer.status_code == 429


def _reason(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "It cannot be woken just now."
