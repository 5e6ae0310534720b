"""How failures are told to an agent: in the Messages API's shape, and in this server's own words."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass

import httpx2
from starlette.responses import JSONResponse

log = logging.getLogger(__name__)

LARGEST_ERROR = 64 * 1024
# Agents shorten their conversation when they read one of these; they hold numbers and nothing else.
TELLING = re.compile(
    r"prompt is too long: \d+ tokens > \d+ maximum"
    r"|input length and `max_tokens` exceed context limit: \d+ \+ \d+ > \d+, "
    r"decrease input length or `max_tokens` and try again"
    r"|max_tokens: \d+ > \d+, which is the maximum allowed number of output tokens for [a-z0-9. -]{1,64}"
)


@dataclass(frozen=True)
class Failure:
    """An answer in the Messages API's error shape; `retry` tells the agent whether to try again."""

    status: int
    kind: str
    text: str
    retry: bool = False


class Refused(Exception):
    """The call ends here with `failure`; `retry_after` in seconds."""

    def __init__(self, failure: Failure, retry_after: str | None = None) -> None:
        super().__init__(failure.text)
        self.failure = failure
        self.retry_after = retry_after


NO_TOKEN = Failure(401, "authentication_error", "The model token of a live sandbox is required (x-api-key).")
UNREACHABLE = Failure(
    502,
    "api_error",
    "The model server cannot be reached. If it stays so, the operator has to check OPENSESSIONS_MODEL_URL, "
    "or this server's way to the internet.",
    retry=True,
)
_KEY = Failure(
    403,
    "permission_error",
    "The model provider refused this server's own key. The operator has to check ANTHROPIC_API_KEY, or in "
    "the cloud the stack's secret or its access to Bedrock.",
)
OWN_KEY = Failure(
    403,
    "permission_error",
    "The model provider refused the account's own key, or asks for it to be paid. Set another one with "
    "PUT /v1/model-key, or delete it to use this server's.",
)
KEY_AWAY = Failure(
    529, "overloaded_error", "The account's own model key cannot be read just now. Try again soon.", True
)
_REDIRECT = Failure(
    502,
    "api_error",
    "The model server answered with a redirect, which is not followed. The operator has to check "
    "OPENSESSIONS_MODEL_URL.",
)
_BY_STATUS = {
    400: Failure(400, "invalid_request_error", "The model provider refused this request as invalid."),
    401: _KEY,
    402: Failure(402, "billing_error", "The model provider asks the operator to settle a bill."),
    403: _KEY,
    404: Failure(404, "not_found_error", "The model provider does not know this model."),
    413: Failure(413, "request_too_large", "The model provider refused this request as too large."),
    429: Failure(429, "rate_limit_error", "The model provider's rate limit is reached. Try later.", True),
    529: Failure(529, "overloaded_error", "The model provider is overloaded. Try again soon.", True),
}
_BROKEN = Failure(502, "api_error", "The model server failed to answer. Try again soon.", True)


def failure(status: int, message: str = "") -> Failure:
    """What is told instead of an upstream answer of `status`, whose own text may hold the operator's secrets.

    `message` is the upstream's text; it is told only if it is one of the few that agents act on.
    """
    if 300 <= status < 400:
        return _REDIRECT
    if status == 400 and TELLING.fullmatch(message):
        return Failure(400, "invalid_request_error", message)
    return _BY_STATUS.get(status, _BY_STATUS[400] if 400 <= status < 500 else _BROKEN)


async def refusal_of(response: httpx2.Response) -> Refused:
    """What is told of an upstream answer that is no success; its own words stay here."""
    text = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            text += chunk
            if len(text) > LARGEST_ERROR:
                break
    except httpx2.HTTPError:
        pass
    seconds = response.headers.get("retry-after", "")
    log.warning("model server answered %s", response.status_code)
    return Refused(failure(response.status_code, message_in(text)), seconds if seconds.isdigit() else None)


def message_in(error: bytes | bytearray) -> str:
    try:
        message = json.loads(error)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return message if isinstance(message, str) else ""


def error_response(refusal: Refused) -> JSONResponse:
    """A refusal in the Messages API's shape, with the header by which its clients decide whether to retry."""
    told = refusal.failure
    headers = {"x-should-retry": "true" if told.retry else "false"}
    if refusal.retry_after:
        headers["retry-after"] = refusal.retry_after[:6]
    if told.status in (401, 408, 413):
        headers["connection"] = "close"  # the body may be unread
    body = {"type": "error", "error": {"type": told.kind, "message": told.text}}
    return JSONResponse(body, told.status, headers)
