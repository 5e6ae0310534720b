"""The examples of the OpenAPI document."""

from typing import Any

from opensessions.http.views import LEFT_OUT

_ID = "0123456789abcdef0123456789abcdef"
_AT = "2026-11-24T12:00:00.000Z"
_PROMPT = "Build a todo app with Next.js and Tailwind"

_SKILL = "# Build an app\n\nUse TypeScript, and keep the dev server on port 3000."

BODIES: dict[str, Any] = {
    "NewSession": {
        "prompt": _PROMPT,
        "user_id": "user_123",
        "agent_config": {
            "system_prompt": "You build small, tidy web apps.",
            "skills": {".claude/skills/build-app/SKILL.md": _SKILL},
            "allowed_tools": ["bash", "read", "write", "edit", "glob", "grep"],
        },
    },
    "NewMessage": {"message": "Make the header blue", "user_id": "user_123"},
    "Interruption": {"user_id": "user_123"},
    "Restoration": {"version": 1},
    "SessionChanges": {"limits": {"cost_usd": 10}},
    "NewUserLimits": {"day": {"cost_usd": 5}, "month": {"cost_usd": 50}},
    "NewToken": {"scope": "read", "ttl": 900},
    "NewModelKey": {"key": "sk-ant-api03-0123456789abcdef"},
    "NewTemplate": {"session": f"session_{_ID}", "name": "Next.js with Tailwind"},
    "NewWebhook": {"url": "https://example.com/hooks/opensessions", "events": ["turn_complete"]},
    "Redelivery": {"session": f"session_{_ID}", "seq": 9},
}

_SESSION: dict[str, Any] = {
    "id": f"session_{_ID}",
    "status": "running",
    "sandboxId": f"sb-{_ID}",
    "previewUrl": f"https://sb-{_ID}-p3000.preview.example.com",
    "project": {"title": "Build a todo app", "framework": "nextjs", "artifacts": []},
    "messages": [{"id": f"msg_{_ID}", "role": "user", "content": _PROMPT, "createdAt": _AT}],
    "events": [
        {
            "id": f"evt_{_ID}00000001",
            "type": "session_started",
            "level": "info",
            "message": "Bootstrapping sandbox...",
            "createdAt": _AT,
        }
    ],
    "userId": "user_123",
    "createdAt": _AT,
    "updatedAt": _AT,
    "sandboxStatus": "starting",
    "usage": {
        "calls": 12,
        "inputTokens": 4_210,
        "outputTokens": 9_800,
        "cacheReadTokens": 310_000,
        "cacheWriteTokens": 41_000,
        "costUsd": 0.40638,
        "sandboxSeconds": 1_310.5,
        "egressBytes": 12_400_000,
    },
    "limits": {
        "costUsd": 5.0,
        "tokens": None,
        "turns": None,
        "turnSeconds": None,
        "lifetimeSeconds": None,
        "idleSeconds": 600,
        "workspaceBytes": 2_000_000_000,
        "egressBytes": None,
    },
    "metadata": {},
    "lastSeq": 1,
    "version": 0,
    "preview": "public",
}

_EVENT = {
    "type": "assistant",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "I set up the project."}]},
    "id": f"evt_{_ID}00000009",
    "seq": 9,
    "level": "info",
    "createdAt": _AT,
}

_VERSION = {
    "number": 1,
    "parent": 0,
    "current": True,
    "title": "Build a todo app",
    "messageId": f"msg_{_ID}",
    "filesChanged": 1,
    "files": [{"path": "app/index.html", "change": "added"}],
    "costUsd": 0.40638,
    "createdAt": _AT,
}

_TEMPLATE = {
    "id": f"tpl_{_ID}",
    "name": "Next.js with Tailwind",
    "status": "ready",
    "session": f"session_{_ID}",
    "files": 12_000,
    "bytes": 250_000_000,
    "createdAt": _AT,
}

_TOKEN = f"oss_{_ID}_{'0' * 64}"
_ISSUED = {
    "token": _TOKEN,
    "scope": "read",
    "expires_at": "2026-11-24T12:15:00.000Z",
    "events_url": f"https://api.example.com/v1/sessions/session_{_ID}/events?token={_TOKEN}",
}

_USED = {
    "calls": 12,
    "input_tokens": 4_210,
    "output_tokens": 9_800,
    "cache_read_tokens": 310_000,
    "cache_write_tokens": 41_000,
    "cache_write_1h_tokens": 0,
    "cost_usd": 0.40638,
    "unpriced_calls": 0,
    "estimated_calls": 0,
    "sandbox_seconds": 1_310.5,
    "egress_bytes": 12_400_000,
    "stored_byte_hours": 480_000_000,
}

_WEBHOOK = {
    "id": f"whk_{_ID}",
    "url": "https://example.com/hooks/opensessions",
    "events": ["turn_complete"],
    "session": None,
    "status": "on",
    "reason": None,
    "createdAt": _AT,
}

_DELIVERY = {
    "id": f"msg_{_ID}",
    "status": "dead",
    "session": f"session_{_ID}",
    "seq": 9,
    "eventType": "turn_complete",
    "attempts": 8,
    "error": "It answered 500.",
    "diedAt": _AT,
}

_ENTRY: dict[str, Any] = {
    "at": _AT,
    "by": {"kind": "key", "id": f"key_{_ID}", "name": "backend", "scope": "write", "session": None},
    "action": "create_session",
    "target": f"session_{_ID}",
    "userId": "user_123",
    "ip": "203.0.113.7",
    "result": 201,
}

ANSWERS: dict[str, Any] = {
    "Report": {
        "from": "2026-11-24",
        "to": "2026-11-24",
        "data": [{"day": "2026-11-24", **_USED}],
        "total": _USED,
    },
    "Session": _SESSION,
    "CreatedSession": _SESSION,
    "NewlyIssued": _ISSUED,
    "SessionList": {
        "data": [{name: part for name, part in _SESSION.items() if name not in LEFT_OUT}],
        "has_more": False,
        "next_cursor": None,
    },
    "EventPage": {"data": [_EVENT], "has_more": False, "last_seq": 9},
    "UserLimits": {
        "userId": "user_123",
        "day": {"costUsd": 5.0, "tokens": None},
        "month": {"costUsd": 50.0, "tokens": None},
    },
    "Ended": {"id": f"session_{_ID}", "status": "ended"},
    "VersionList": {"data": [_VERSION], "has_more": False},
    "Template": _TEMPLATE,
    "TemplateList": {"data": [_TEMPLATE]},
    "Webhook": _WEBHOOK,
    "CreatedWebhook": {**_WEBHOOK, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
    "WebhookList": {"data": [_WEBHOOK]},
    "DeliveryList": {"data": [_DELIVERY], "has_more": False, "next_cursor": None},
    "Redelivered": {"queued": 1},
    "ModelKey": {"set": True, "since": _AT},
    "AuditPage": {"data": [_ENTRY], "has_more": False, "next_cursor": None},
    "Health": {"status": "ok"},
}
