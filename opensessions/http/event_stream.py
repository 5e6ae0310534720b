"""How the event stream looks in the OpenAPI document. The gateway serves it: it holds connections open."""

from typing import Any

from opensessions.http.views import SESSION_ID


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


OPERATION: dict[str, Any] = {
    "summary": "Stream Events",
    "description": "Server-sent events: those after `Last-Event-ID` (or else `after`), then live ones. A "
    "frame has `id: <seq>` and the event as `data:`, without an `event:` name; `event: ping` every 10 s is a "
    "sign of life. The stream closes after `session_ended`; then 204 tells a browser to stop reconnecting. "
    "A stream that a session's token opened closes when that expires or is revoked. At most 600 clients "
    "watch a session at once.",
    "operationId": "stream_events",
    "parameters": [
        {
            "name": "session_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": SESSION_ID},
        },
        _query("after", {"type": "integer", "minimum": 0}, "Only events whose `seq` is greater."),
        _query("user_id", {"type": "string", "minLength": 1}, "Must be the session's when given."),
        _query("deltas", {"type": "string", "enum": ["0", "1"]}, "1: partial text too, as `event: delta`."),
        _query("token", {"type": "string"}, "A session's token, for browsers' EventSource."),
        _query("api_key", {"type": "string"}, "For browsers' EventSource, where the server allows it."),
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "The `seq` seen last; it wins over `after`.",
        },
    ],
    "responses": {
        "200": {
            "description": "The stream; each frame's data is an event.",
            "content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/Event"}}},
        },
        "204": {"description": "The session has ended and there is nothing new."},
    },
}
