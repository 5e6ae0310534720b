"""The way from the gateway to `functions/callback`: Lambda's Invoke, so that the function has no address."""

import base64
import json
from typing import Any

import httpx2


class FunctionAway(httpx2.TransportError):
    """Throttled, failed or out of reach; what the function was asked may be asked again."""


class FunctionTransport(httpx2.AsyncBaseTransport):
    """Sends each request as an event of API Gateway's payload version 2.0, which Mangum reads, and waits for
    the answer. `client` signs for Lambda; `endpoint` is that of Lambda's API.
    """

    def __init__(self, client: httpx2.AsyncClient, endpoint: str, function: str) -> None:
        self._client = client
        self._url = f"{endpoint.rstrip('/')}/2015-03-31/functions/{function}/invocations"

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = json.dumps(event(request, await request.aread())).encode()
        answer = await self._client.post(
            self._url,
            content=body,
            headers={"Content-Type": "application/json"},
            timeout=request.extensions.get("timeout", {}).get("read", 15.0),
        )
        if answer.status_code != 200 or "x-amz-function-error" in answer.headers:
            raise FunctionAway(f"Invoke answered {answer.status_code}.", request=request)
        try:
            return _response(answer.json())
        except (ValueError, KeyError, TypeError):
            raise FunctionAway("The function's answer is no HTTP response.", request=request) from None

    async def aclose(self) -> None:
        await self._client.aclose()


def event(request: httpx2.Request, body: bytes) -> dict[str, Any]:
    """The request as an event."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    path = request.url.path
    asked = {
        "method": request.method,
        "path": path,
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": headers.get("user-agent", ""),
    }
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": request.url.query.decode("ascii"),
        "headers": headers,
        "requestContext": {"http": asked, "stage": "$default", "routeKey": "$default"},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def _response(answer: dict[str, Any]) -> httpx2.Response:
    text = answer.get("body") or ""
    body = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
    return httpx2.Response(answer["statusCode"], headers=answer.get("headers") or {}, content=body)
