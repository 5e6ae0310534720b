"""The session object, read whole."""

from typing import Any

from opensessions.http import views
from opensessions.models import Session
from opensessions.sessions.service import Service


def whole(service: Service, session: Session) -> dict[str, Any]:
    """A session with its newest messages and events, as callers get it."""
    messages, events = service.recent(session)
    address, used = service.preview_url(session.sandbox_id, 3000), service.metering.used(session)
    return views.session(session, address, messages, events, used)
