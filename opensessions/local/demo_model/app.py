"""The demo model's server: the Anthropic Messages API, answered by a script."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from opensessions.local.demo_model.conversation import read_conversation
from opensessions.local.demo_model.reply import Reply, tokens
from opensessions.local.demo_model.script import next_turn

_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error", 405: "invalid_request_error"}


def create_demo_model(pace: float = 0.02) -> ASGIApp:
    """An ASGI app that answers POST /v1/messages and POST /v1/messages/count_tokens.

    It keeps no state: its answer is a function of the request. `pace` is the pause before every
    delta of a stream, in seconds. It looks at no key: it costs nothing and knows nothing.
    Failures have the shape of Anthropic's: {"type": "error", "error": {"type", "message"}}.
    """

    async def messages(request: Request) -> Response:
        raw = await request.body()
        reply = _reply(raw)
        head = {"request-id": _request_id()}
        if not json.loads(raw).get("stream"):
            return JSONResponse(reply.message(), headers=head)
        head["Cache-Control"] = "no-cache"
        return StreamingResponse(_paced(reply, pace), media_type="text/event-stream", headers=head)

    async def count_tokens(request: Request) -> Response:
        raw = await request.body()
        _body(raw)
        return JSONResponse({"input_tokens": tokens(raw)})

    routes = [
        Route("/v1/messages", messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refuse})


async def _paced(reply: Reply, pace: float) -> AsyncIterator[bytes]:
    for event in reply.events():
        if pace and event.startswith(b"event: content_block_delta"):
            await asyncio.sleep(pace)
        yield event


def _reply(raw: bytes) -> Reply:
    body = _body(raw)
    try:
        conversation = read_conversation(body)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error
    text, call = next_turn(conversation)
    return Reply(str(body.get("model") or "demo"), text, call, input_tokens=tokens(raw))


def _body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise HTTPException(400, "The request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise HTTPException(400, "The request body must be a JSON object")
    return body


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code in (404, 405):
        message = f"{request.method} {request.url.path} is not here: POST /v1/messages is"
    failure = {"type": _ERROR_TYPES.get(error.status_code, "api_error"), "message": message}
    body = {"type": "error", "error": failure, "request_id": _request_id()}
    return JSONResponse(body, status_code=error.status_code, headers=dict(error.headers or {}))


def _request_id() -> str:
    return f"req_{uuid.uuid4().hex[:24]}"


demo_model: ASGIApp = create_demo_model()
