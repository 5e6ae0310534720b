"""Who asks on the public side, and for which session."""

from typing import Protocol

import anyio.to_thread
from starlette.requests import Request

from opensessions.access import tokens
from opensessions.access.callers import Caller, Scope
from opensessions.access.keyring import Key
from opensessions.errors import InvalidRequest, NotFound, Unauthorized
from opensessions.http.credentials import credentials
from opensessions.http.views import is_session_id
from opensessions.models import Session


class Sessions(Protocol):
    """What is asked of the service; all calls block and are made in worker threads."""

    def authenticate(self, secret: str) -> Caller:
        """Whose key or session's token this is. Raises Unauthorized."""
        ...

    def good(self, key: Key) -> bool:
        """Whether a key still opens its account."""
        ...

    def read(self, account: str, session_id: str, user_id: str | None = None) -> Session:
        """Raises NotFound."""
        ...


class Callers:
    """Looks at requests for `…/sessions/{session_id}/…`. `allow_query_key` takes an API key from `?api_key=`
    too, `allow_query_token` a session's token from `?token=`.
    """

    def __init__(self, sessions: Sessions, *, allow_query_key: bool, allow_query_token: bool = False) -> None:
        self._sessions = sessions
        self._allow_query_key, self._allow_query_token = allow_query_key, allow_query_token

    async def caller(self, request: Request, scope: Scope) -> Caller:
        """Who asks for what takes this scope; it is put into the request's state, too, for `Audited`. Raises
        Unauthorized, and Forbidden.
        """
        secret = self._secret(request)
        try:
            caller = await anyio.to_thread.run_sync(self._sessions.authenticate, secret)
        except Unauthorized as refused:
            request.state.caller = refused.former
            raise
        request.state.caller = caller
        caller.require(scope)
        return caller

    async def session(self, request: Request, caller: Caller) -> Session:
        """The session that is asked for. Raises NotFound and InvalidRequest."""
        session_id, user_id = _session_id(request), _user_id(request)
        caller.require_session(session_id)
        return await anyio.to_thread.run_sync(self._sessions.read, caller.account, session_id, user_id)

    def _secret(self, request: Request) -> str:
        secret = credentials(request.headers) or self._in_query(request)
        if not secret:
            raise Unauthorized("Send the API key in the X-API-Key header or as Authorization: Bearer.")
        return secret

    def _in_query(self, request: Request) -> str | None:
        token, key = request.query_params.get("token", ""), request.query_params.get("api_key", "")
        if self._allow_query_token and tokens.session_of(token):
            return token
        return key if self._allow_query_key and not tokens.session_of(key) else None


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
