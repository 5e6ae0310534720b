"""Who asks on the public side, and for which session."""

from typing import Protocol

import anyio.to_thread
from starlette.requests import Request

from opensessions.errors import InvalidRequest, NotFound, Unauthorized
from opensessions.http.credentials import credentials
from opensessions.http.views import is_session_id
from opensessions.models import Session


class Sessions(Protocol):
    """What is asked of the service; both calls block and are made in worker threads."""

    def authenticate(self, key: str) -> str:
        """The account of a key. Raises Unauthorized."""
        ...

    def read(self, account: str, session_id: str, user_id: str | None = None) -> Session:
        """Raises NotFound."""
        ...


class Callers:
    """Looks at requests for `…/sessions/{session_id}/…`. `allow_query_key` takes the API key from `?api_key=`
    too.
    """

    def __init__(self, sessions: Sessions, *, allow_query_key: bool) -> None:
        self._sessions, self._allow_query_key = sessions, allow_query_key

    async def account(self, request: Request) -> str:
        """The caller's account. Raises Unauthorized."""
        return await anyio.to_thread.run_sync(self._sessions.authenticate, self._key(request))

    async def session(self, request: Request, account: str) -> Session:
        """The session that is asked for. Raises NotFound and InvalidRequest."""
        session_id, user_id = _session_id(request), _user_id(request)
        return await anyio.to_thread.run_sync(self._sessions.read, account, session_id, user_id)

    def _key(self, request: Request) -> str:
        key = credentials(request.headers)
        if key is None and self._allow_query_key:
            key = request.query_params.get("api_key")
        if not key:
            raise Unauthorized("Send the API key in the X-API-Key header or as Authorization: Bearer.")
        return key


def _session_id(request: Request) -> str:
    session_id: str = request.path_params["session_id"]
    if not is_session_id(session_id):
        raise NotFound("Session not found")
    return session_id


def _user_id(request: Request) -> str | None:
    user_id = request.query_params.get("user_id")
    if user_id == "":
        raise InvalidRequest("user_id must not be empty; leave it out to see any user's session.", "user_id")
    return user_id
