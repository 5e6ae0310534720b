"""Requests become events of the function, its answers responses, and its failures errors of the transport."""

import base64
import json
from typing import Any

import httpx2
import pytest

from opensessions.aws.invoke import FunctionAway, FunctionTransport

Answer = httpx2.Response | Exception


def client(answer: Answer, invoked: list[httpx2.Request] | None = None) -> httpx2.AsyncClient:
    def invoke(request: httpx2.Request) -> httpx2.Response:
        if invoked is not None:
            invoked.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    way = httpx2.AsyncClient(transport=httpx2.MockTransport(invoke))
    transport = FunctionTransport(way, "http://lambda.test/", "callback")
    return httpx2.AsyncClient(transport=transport, base_url="http://callback")


async def test_a_request_and_its_answer() -> None:
    body = base64.b64encode(b"\xff").decode()
    answer = {"statusCode": 409, "headers": {"x-told": "yes"}, "body": body, "isBase64Encoded": True}
    invoked: list[httpx2.Request] = []
    async with client(httpx2.Response(200, json=answer), invoked) as callback:
        got = await callback.post("/callback/v1/events?a=b", content=b"\x00\xfe", headers={"X-One": "1"})
    assert (got.status_code, got.headers["x-told"], got.content) == (409, "yes", b"\xff")
    assert str(invoked[0].url) == "http://lambda.test/2015-03-31/functions/callback/invocations"
    event: dict[str, Any] = json.loads(invoked[0].content)
    assert (event["rawPath"], event["rawQueryString"]) == ("/callback/v1/events", "a=b")
    assert (event["requestContext"]["http"]["method"], event["headers"]["x-one"]) == ("POST", "1")
    assert base64.b64decode(event["body"]) == b"\x00\xfe"


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(429, json={"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"}),
        httpx2.Response(200, json={"errorMessage": "x"}, headers={"X-Amz-Function-Error": "Unhandled"}),
        httpx2.Response(200, json=None),
        httpx2.Response(200, json={"no": "status"}),
        httpx2.Response(200, content=b"<html>"),
        httpx2.Response(403),
        httpx2.ReadTimeout("late"),
        httpx2.ConnectError("away"),
    ],
)
async def test_a_failure_is_the_transports(answer: Answer) -> None:
    async with client(answer) as callback:
        with pytest.raises(FunctionAway if isinstance(answer, httpx2.Response) else type(answer)):
            await callback.post("/callback/v1/events")
