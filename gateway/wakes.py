"""Having sessions woken that somebody visits while they sleep."""

import asyncio
import logging
from collections.abc import Sequence

import httpx2

log = logging.getLogger(__name__)

CALLBACK_PATH = "/callback/v1/wakes"
REMEMBERED_SECONDS = 5.0
"""How long a wake that was asked for is not asked for again, and why one was refused is known."""


class Wakes:
    """Asks the callback, once for all who visit a session at a time, and again after each of `pauses` while
    it does not answer. Nobody waits for it. All methods belong to the event loop.
    """

    def __init__(self, callback: httpx2.AsyncClient, pauses: Sequence[float] = (0.5, 1, 2, 4)) -> None:
        self._callback, self._pauses = callback, pauses
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, str] = {}

    def ask(self, session_id: str) -> None:
        """Have a sleeping session woken; one that is awake stays as it is."""
        if session_id not in self._asking:
            task = asyncio.get_running_loop().create_task(self._wake(session_id), name=f"wake {session_id}")
            self._asking[session_id] = task

    def asked(self, session_id: str) -> bool:
        """Whether a session is being woken, or was just now."""
        return session_id in self._asking

    def refusal(self, session_id: str) -> str | None:
        """Why a session could not be woken just now, in a sentence."""
        return self._refused.get(session_id)

    async def aclose(self) -> None:
        """Ask for nothing any more."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wake(self, session_id: str) -> None:
        try:
            for pause in (*self._pauses, None):
                if await self._post(session_id) or pause is None:
                    break
                await asyncio.sleep(pause)
            await asyncio.sleep(REMEMBERED_SECONDS)
        finally:
            self._refused.pop(session_id, None)
            del self._asking[session_id]

    async def _post(self, session_id: str) -> bool:
        """Ask once; returns whether there was an answer that stands."""
        try:
            answer = await self._callback.post(CALLBACK_PATH, json={"session_id": session_id})
        except httpx2.HTTPError as error:
            log.warning("session %s could not be woken (%s)", session_id, type(error).__name__)
            return False
        if answer.status_code == 429:
            self._refused[session_id] = _reason(answer)
        elif not answer.is_success:
            log.warning("session %s could not be woken (%s)", session_id, answer.status_code)
        return answer.is_success or answer.status_code == 429


def _reason(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return "It cannot be woken just now."
