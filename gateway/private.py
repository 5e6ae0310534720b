"""Private previews: a visitor comes with a token once, and from then on with a cookie.

The cookie is signed and says all: which port of which sandbox, until when, and how often the session's tokens
had been revoked when it was given. So every gateway can judge it, and a request costs no look-up.
"""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable, Sequence

import httpx2

from gateway.dataplane.heads import Request
from gateway.dataplane.replies import Reply
from gateway.waiting import answer, navigates
from opensessions.access.passes import QUERY
from opensessions.access.tokens import preview_of
from opensessions.models import Session

log = logging.getLogger(__name__)

CALLBACK_PATH = "/callback/v1/visits"
COOKIE = "__Host-os_pass"
COOKIE_SECONDS = 3600
"""How long a cookie is good. One of which half is over is given anew with the next answer."""

_COOKIE = re.compile(rb"(?:^|;)[ \t]*" + COOKIE.encode() + rb"=([0-9]{1,12})\.([0-9a-f]{64})(?=;|$)")
_PARAMETER = QUERY.encode() + b"="
_PAGE = (
    b"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    b"<title>Private preview</title><style>body{font:16px/1.5 system-ui;max-width:32em;margin:20vh auto;"
    b"padding:0 1em}</style><h1>This preview is private</h1><p>It opens from the application that shows it "
    b"to you. If it was open here before, open it from there again.</p></html>"
)
_PAGE_HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("Cache-Control", "no-store"),
)


class Gate:
    """Judges requests for one port of a private preview; it is a data plane's Guard. `number` is the
    session's `revocations`.
    """

    def __init__(
        self, key: bytes, sandbox_id: str, port: int, number: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._key, self._clock = key, clock
        self._about = f"{sandbox_id}|{port}|{number}|"

    def __call__(self, request: Request) -> Reply | bytes:
        """What the visitor is answered in the app's place, or the lines that the app's answer gets."""
        if refusal := forbidden(request):
            return refusal
        expiry = self._expiry(request)
        if expiry is None:
            return stranger(request)
        renew = not request.upgrade and expiry - self._clock() < COOKIE_SECONDS / 2
        return f"Set-Cookie: {self.cookie()}\r\n".encode() if renew else b""

    def cookie(self) -> str:
        """A new cookie, as Set-Cookie has it."""
        expiry = int(self._clock()) + COOKIE_SECONDS
        attributes = f"Max-Age={COOKIE_SECONDS}; Path=/; Secure; HttpOnly; SameSite=None; Partitioned"
        return f"{COOKIE}={expiry}.{self._signature(str(expiry))}; {attributes}"

    def _expiry(self, request: Request) -> int | None:
        """Until when the visitor's cookie is good; None: there is no good one."""
        for lower, _, value in request.fields:
            if lower == b"cookie":
                for found in _COOKIE.finditer(value):
                    expiry = found[1].decode()
                    good = hmac.compare_digest(found[2].decode(), self._signature(expiry))
                    if good and self._clock() < int(expiry):
                        return int(expiry)
        return None

    def _signature(self, expiry: str) -> str:
        return hmac.digest(self._key, (self._about + expiry).encode(), "sha256").hex()


class Private:
    """Makes the gates of this gateway; `master` is the key that all gateways share. Tokens are redeemed by
    the callback.
    """

    def __init__(
        self, master: bytes, callback: httpx2.AsyncClient, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = hmac.new(master, b"private previews", hashlib.sha256).digest()
        self._callback, self._clock = callback, clock

    def gate(self, session: Session, port: int) -> Gate:
        return Gate(self._key, session.sandbox_id, port, session.revocations, self._clock)

    async def exchange(self, request: Request, session: Session, port: int, token: str) -> Reply:
        """Give the visitor a cookie for their token, and lead them to the same address without it."""
        if refusal := forbidden(request):
            return refusal
        if request.method != b"GET" or preview_of(token) != session.id:
            return stranger(request)
        try:
            told = await self._callback.post(CALLBACK_PATH, json={"token": token})
        except httpx2.HTTPError as error:
            log.warning("a visit of session %s could not be judged (%s)", session.id, type(error).__name__)
            return answer(503, "This preview cannot be opened just now; ask for a new address.")
        if not told.is_success or told.json() != {"port": port, "number": session.revocations}:
            return stranger(request)
        gate = self.gate(session, port)
        return led(request, ("Set-Cookie", gate.cookie()))


def token_in(request: Request) -> str | None:
    """The token that a request's address holds, whatever it is."""
    if _PARAMETER not in request.target:
        return None
    _, tokens = _split(request.target)
    return tokens[0].decode("latin-1") if tokens else None


def led(request: Request, *headers: tuple[str, str]) -> Reply:
    """To the same address without a token. It stays on this host, whatever slashes it begins with."""
    rest, _ = _split(request.target)
    where = "/" + rest.decode("latin-1").lstrip("/\\")
    own = (("Location", where), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"))
    return Reply(302, b"", (*own, *headers))


def _split(target: bytes) -> tuple[bytes, Sequence[bytes]]:
    """An address without its tokens, and these."""
    path, _, query = target.partition(b"?")
    parts = query.split(b"&") if query else []
    kept = [part for part in parts if not part.startswith(_PARAMETER)]
    tokens = [part.removeprefix(_PARAMETER) for part in parts if part.startswith(_PARAMETER)]
    return b"?".join((path, b"&".join(kept))) if kept else path, tokens


def forbidden(request: Request) -> Reply | None:
    """The refusal of what comes from another page than the preview's own, or would install a service worker,
    which sees every later token. Strangers' pages may lead here and show the preview in a frame; those of
    other previews, which are the same site, may only lead here.
    """
    if request.field(b"service-worker") is not None:
        return answer(403, "A private preview has no service workers.")
    origin = request.field(b"origin")
    own = origin is not None and origin.partition(b"://")[2] == request.host
    site = request.field(b"sec-fetch-site") or b"none"
    if request.upgrade:
        allowed = own
    elif origin is not None and not own:
        allowed = False
    else:
        allowed = site in (b"same-origin", b"none") or _leads(request, framed=site == b"cross-site")
    return None if allowed else answer(403, "A private preview answers its own pages alone.")


def _leads(request: Request, *, framed: bool) -> bool:
    """Whether a browser goes to a page, in a window or perhaps in a frame."""
    places = (b"document", b"iframe", b"frame") if framed else (b"document",)
    going = request.field(b"sec-fetch-mode") == b"navigate" and request.field(b"sec-fetch-dest") in places
    return going and request.method in (b"GET", b"HEAD")


def stranger(request: Request) -> Reply:
    """The answer to one without a good cookie."""
    if navigates(request):
        return Reply(401, _PAGE, _PAGE_HEADERS)
    return answer(401, "This preview is private; it opens with an address that its session's owner makes.")
