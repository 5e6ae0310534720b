"""What the callback says to a sandbox's post, as the sandbox gets it."""

import logging

import httpx2
from starlette.exceptions import HTTPException
from starlette.responses import Response

log = logging.getLogger(__name__)

PASSED_ON = frozenset({400, 401, 409, 410, 413, 422, 429})
"""The callback's answers that are meant for the sandbox. All others are faults of ours, and will pass."""


class Verdicts:
    """Hands posts on to the callback with the sandbox's own token. `callback` has a base URL."""

    def __init__(self, callback: httpx2.AsyncClient, seconds: float, later: str) -> None:
        """`later` is what a sandbox is told when there was no verdict."""
        self._callback, self._seconds, self._later = callback, seconds, later

    async def ask(self, path: str, token: str, body: bytes) -> httpx2.Response:
        """The callback's verdict: a success, or one of `PASSED_ON`. Raises HTTPException (503, with
        `Retry-After`) when there was none: the sandbox sends the same again then, which is harmless.
        """
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            answer = await self._callback.post(path, content=body, headers=headers, timeout=self._seconds)
        except httpx2.HTTPError as error:
            raise self.fault(f"is away ({type(error).__name__})") from None
        if not answer.is_success and answer.status_code not in PASSED_ON:
            raise self.fault(f"answered {answer.status_code}")
        return answer

    def fault(self, what: str) -> HTTPException:
        """The answer to a sandbox when the callback did not do its part; `what` goes into the log alone."""
        log.warning("The callback %s; the sandbox is to try again", what)
        return HTTPException(503, self._later, {"Retry-After": "1"})


def passed_on(answer: httpx2.Response) -> Response:
    """A verdict that is no success, for the sandbox."""
    names = ("content-type", "retry-after")
    headers = {name: answer.headers[name] for name in names if name in answer.headers}
    if answer.status_code == 429:
        headers.setdefault("retry-after", "1")
    return Response(answer.content, answer.status_code, headers)
