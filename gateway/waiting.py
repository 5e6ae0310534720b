"""What a visitor gets where there is no app (yet): a page that narrates and then turns into it, or an
honest error.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from gateway.dataplane.heads import Request
from gateway.dataplane.replies import Reply
from opensessions.models import SandboxStatus, Session, Status

POLL = "application/x-preview-waiting"
"""What the page asks for when it asks how far things are. The app itself answers as soon as there is one."""

VITE_PING = "text/x-vite-ping"
"""What a page of Vite's that lost its server asks for, every second, whether anybody looks at it or not."""

_PAGE = (Path(__file__).parent / "waiting.html").read_text()
_SCRIPT = _PAGE.split("<script>", 1)[1].split("</script>", 1)[0]
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'; connect-src 'self'"
_NO_STORE = ("Cache-Control", "no-store")


_KINDS = {
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    410: "not_found",
    421: "invalid_request",
}


def answer(status: int, message: str) -> Reply:
    """An error in the API's shape."""
    kind = _KINDS.get(status, "unavailable")
    body = json.dumps({"error": {"type": kind, "message": message}}).encode()
    return Reply(status, body, (("Content-Type", "application/json"), _NO_STORE))


def ended(request: Request) -> Reply:
    """410: there will be no app here any more."""
    message = "This session has ended; its preview is gone."
    return _page(410, message) if navigates(request) else answer(410, message)


def not_yet(
    request: Request, title: str, state: str, narrate: Callable[[], list[str]], *, busy: bool = True
) -> Reply:
    """503 with a page for a navigation, 503 for its parts, 502 in JSON for everything else. Never 200. `busy`
    says whether it is worth waiting.
    """
    if polls(request):
        told = {"title": title, "state": state, "busy": busy, "lines": narrate()}
        return Reply(503, json.dumps(told).encode(), (("Content-Type", POLL), _NO_STORE))
    if navigates(request):
        return _page(503, state, ("Retry-After", "1"))
    if _is_part(request):
        return Reply(503, b"", (("Retry-After", "1"), _NO_STORE))
    return answer(502, state)


def polls(request: Request) -> bool:
    """Whether it is the waiting page that asks, and not its visitor."""
    return request.field(b"accept") == POLL.encode()


def may_wake(request: Request) -> bool:
    """Whether a request is reason enough to wake a session: somebody opens a page of it, or a program calls
    it. What pages that were left open send by themselves is none.
    """
    if request.upgrade or request.field(b"sec-purpose") or request.field(b"accept") in _BY_THEMSELVES:
        return False
    return navigates(request) or not _is_part(request)


_BY_THEMSELVES = (POLL.encode(), VITE_PING.encode())


def _is_part(request: Request) -> bool:
    return (request.field(b"sec-fetch-dest") or b"empty") != b"empty"


def navigates(request: Request) -> bool:
    """Whether a browser wants to show a page."""
    if request.method not in (b"GET", b"HEAD"):
        return False
    destination = request.field(b"sec-fetch-dest")
    if destination is None:
        return b"text/html" in (request.field(b"accept") or b"")
    return destination in (b"document", b"iframe", b"frame")


def state(session: Session, port: int) -> str:
    """Why the app of a session does not answer, for people; of one that sleeps see `asleep`."""
    if session.head.sandbox_status is SandboxStatus.STARTING:
        return "The session is waking up." if session.archives else "The sandbox is starting."
    if not session.live:
        return "The sandbox is not running; a message to the session starts it again."
    if session.head.status is Status.RUNNING:
        return f"Nothing listens on port {port} yet; the agent is at work."
    return f"Nothing listens on port {port}."


def asleep(waking: bool, refusal: str | None) -> str:
    """The same of a session that sleeps, and is being woken, or cannot be."""
    if refusal:
        return f"The session sleeps and cannot be woken just now. {refusal}"
    if waking:
        return "The session slept; it is waking up."
    return "The session sleeps. Open this page again, or send a message, to wake it."


def _page(status: int, state: str, *headers: tuple[str, str]) -> Reply:
    own = (("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", _POLICY), _NO_STORE)
    return Reply(status, _PAGE.replace("{{state}}", state).encode(), own + headers)
