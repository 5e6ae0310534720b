"""`POST /sandbox/v1/boot`: a sandbox that was launched with a boot ticket swaps it for its token.

With `Boot-Nonce: <64 hex digits>`, which the worker makes once and shows to nobody else, the same may be
asked again and is answered with the same token. Workers that send none may ask once.
"""

import re

import httpx2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.rates import Buckets
from opensessions.http.credentials import bearer

PATH = "/sandbox/v1/boot"
CALLBACK_PATH = "/callback/v1/boot"

PASSED_ON = frozenset({200, 401})
_NONCE = re.compile(r"[0-9a-f]{64}")


class Boot:
    """Hands the ticket on, with the address that it came from, and gives back `{"token": ...}` or 401.

    503 with `Retry-After` when the callback did not answer. An address that tries over and over is answered
    429.
    """

    def __init__(self, callback: httpx2.AsyncClient) -> None:
        self._callback = callback
        self._tries = Buckets(rate=0.5, burst=20)

    def route(self) -> Route:
        return Route(PATH, self.post, methods=["POST"])

    async def post(self, request: Request) -> Response:
        address = request.client.host if request.client and request.client.host else "local"
        self._tries.take(address)
        headers = {"Authorization": f"Bearer {bearer(request.headers) or ''}"}
        told = {"address": address, **_nonce(request)}
        try:
            answer = await self._callback.post(CALLBACK_PATH, json=told, headers=headers)
        except httpx2.HTTPError:
            raise _later() from None
        if answer.status_code not in PASSED_ON:
            raise _later()
        return Response(answer.content, answer.status_code, media_type="application/json")


def _nonce(request: Request) -> dict[str, str]:
    nonce = request.headers.get("boot-nonce")
    if nonce is None:
        return {}
    if not _NONCE.fullmatch(nonce):
        raise HTTPException(400, "Boot-Nonce is to be 64 hex digits")
    return {"nonce": nonce}


def _later() -> HTTPException:
    return HTTPException(503, "no sandbox can boot at the moment, try again", {"Retry-After": "1"})
