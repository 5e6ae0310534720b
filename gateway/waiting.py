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
from opensessions.models import Session, Status

POLL = "application/x-preview-waiting"
"""What the page asks for when it asks how far things are. The app itself answers as soon as there is one."""

_PAGE = (Path(__file__).parent / "waiting.html").read_text()
_SCRIPT = _PAGE.split("<script>", 1)[1].split("</script>", 1)[0]
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_HASH}'; connect-src 'self'"
_NO_STORE = ("Cache-Control", "no-store")


def answer(status: int, message: str) -> Reply:
    """An error in the API's shape."""
    kind = {404: "not_found", 410: "not_found", 421: "invalid_request"}.get(status, "unavailable")
    body = json.dumps({"error": {"type": kind, "message": message}}).encode()
    return Reply(status, body, (("Content-Type", "application/json"), _NO_STORE))


def ended(request: Request) -> Reply:
    """410: there will be no app here any more."""
    message = "This session has ended; its preview is gone."
    return _page(410, message) if _navigates(request) else answer(410, message)


def not_yet(request: Request, session: Session, port: int, narrate: Callable[[], list[str]]) -> Reply:
    """503 with a page for a navigation, 503 for its parts, 502 in JSON for everything else. Never 200."""
    if request.field(b"accept") == POLL.encode():
        lines = {"title": session.title, "state": _state(session, port), "lines": narrate()}
        return Reply(503, json.dumps(lines).encode(), (("Content-Type", POLL), _NO_STORE))
    if _navigates(request):
        return _page(503, _state(session, port), ("Retry-After", "1"))
    if (request.field(b"sec-fetch-dest") or b"empty") != b"empty":
        return Reply(503, b"", (("Retry-After", "1"), _NO_STORE))
    return answer(502, _state(session, port))


def _navigates(request: Request) -> bool:
    if request.method not in (b"GET", b"HEAD"):
        return False
    destination = request.field(b"sec-fetch-dest")
    if destination is None:
        return b"text/html" in (request.field(b"accept") or b"")
    return destination in (b"document", b"iframe", b"frame")


def _state(session: Session, port: int) -> str:
    if not session.live:
        return "The sandbox is not running; a message to the session starts it again."
    if session.head.status is Status.RUNNING:
        return f"Nothing listens on port {port} yet; the agent is at work."
    return f"Nothing listens on port {port}."


def _page(status: int, state: str, *headers: tuple[str, str]) -> Reply:
    own = (("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", _POLICY), _NO_STORE)
    return Reply(status, _PAGE.replace("{{state}}", state).encode(), own + headers)
