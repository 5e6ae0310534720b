"""What stands before the deployed system on this machine, as API Gateway and the load balancer do on AWS.

Which methods stream, and where to, is read from the deployed template and from API Gateway's own answer about
them. Everything else goes to ministack's execute-api. Names that are not the API's lead to a gateway.
"""

import asyncio
import itertools
import json
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import uvicorn
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.rehearsal.emulator_process import Emulator

LARGEST = 10 * 1024 * 1024
PATIENCE = 29.0
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
Address = tuple[str, int]


@dataclass(frozen=True)
class Streamed:
    """A method whose answer is passed through as it comes; `path` is a pattern of the public path."""

    method: str
    path: re.Pattern[str]
    uri: str
    seconds: float

    def target(self, method: str, path: str) -> str | None:
        found = self.path.fullmatch(path) if method == self.method else None
        return urlsplit(self.uri.format(**found.groupdict())).path if found else None


def streamed(emulator: Emulator, stack: str) -> list[Streamed]:
    """The methods of the deployed template that have `ResponseTransferMode: STREAM`."""
    formation, gateway = emulator.client("cloudformation"), emulator.client("apigateway")
    body = formation.get_template(StackName=stack)["TemplateBody"]
    template = body if isinstance(body, dict) else json.loads(body)
    listed = formation.get_paginator("list_stack_resources").paginate(StackName=stack)
    physical = {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for page in listed
        for each in page["StackResourceSummaries"]
    }
    found = []
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if properties.get("Integration", {}).get("ResponseTransferMode") != "STREAM":
            continue
        where = {
            "restApiId": physical[properties["RestApiId"]["Ref"]],
            "resourceId": physical[properties["ResourceId"]["Ref"]],
        }
        made = gateway.get_method(**where, httpMethod=properties["HttpMethod"])["methodIntegration"]
        path = gateway.get_resource(**where)["path"]
        pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", path))
        seconds = made["timeoutInMillis"] / 1000
        found.append(Streamed(properties["HttpMethod"], pattern, made["uri"], seconds))
    return found


class Front:
    """Serves on `port` of the loopback. `gateways` are the public sides of those that live, in turns."""

    def __init__(self, emulator: Emulator, api: str, stage: str, streams: Iterable[Streamed]) -> None:
        self.gateways: list[Address] = []
        self._api_host = f"{api}.execute-api.localhost:{emulator.port}"
        self._emulator, self._stage, self._streams = emulator, stage, tuple(streams)
        self._turn = itertools.count()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = int(self._listener.getsockname()[1])
        config = uvicorn.Config(self, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32)
        async with httpx2.AsyncClient(limits=limits, timeout=PATIENCE, trust_env=False) as self._http:
            await self._server.serve(sockets=[self._listener])

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._listener.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except (httpx2.ConnectError, ConnectionRefusedError):
            answer = Response("no gateway lives", 503)
        except httpx2.TimeoutException:
            answer = Response('{"message": "Endpoint request timed out"}', 504)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        host = request.headers.get("host", "").split(":")[0]
        if host != "127.0.0.1":
            return await self._pass_on(request, self._gateway(), request.scope["raw_path"].decode(), host)
        stage, slash, rest = request.url.path.removeprefix("/").partition("/")
        if stage != self._stage:
            return Response('{"message": "Forbidden"}', 403)
        for stream in self._streams:
            if target := stream.target(request.method, slash + rest):
                named = urlsplit(stream.uri).hostname or ""
                return await self._pass_on(request, self._gateway(), target, named, stream.seconds)
        return await self._invoked(request)

    async def _invoked(self, request: Request) -> Response:
        body = await request.body()
        if len(body) > LARGEST:
            return Response('{"message": "Request Too Long"}', 413)
        url = f"{self._emulator.url}{request.scope['raw_path'].decode()}"
        answer = await self._http.request(
            request.method,
            url + (f"?{request.url.query}" if request.url.query else ""),
            headers=_headers(request, self._api_host),
            content=body,
        )
        return Response(answer.content, answer.status_code, _kept(answer.headers))

    async def _pass_on(
        self, request: Request, to: Address, path: str, host: str, seconds: float | None = None
    ) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        sent = self._http.build_request(
            request.method,
            f"http://{to[0]}:{to[1]}{path}{query}",
            headers=_headers(request, host),
            content=request.stream() if request.method not in ("GET", "HEAD") else None,
            timeout=httpx2.Timeout(PATIENCE, read=300),
        )
        answer = await self._http.send(sent, stream=True)
        return StreamingResponse(_body(answer, seconds), answer.status_code, _kept(answer.headers, raw=True))

    def _gateway(self) -> Address:
        alive = list(self.gateways)
        if not alive:
            raise ConnectionRefusedError("no gateway lives")
        return alive[next(self._turn) % len(alive)]


async def _body(answer: httpx2.Response, seconds: float | None) -> AsyncIterator[bytes]:
    try:
        async with asyncio.timeout(seconds):
            async for chunk in answer.aiter_raw():
                yield chunk
    finally:
        await answer.aclose()


def _headers(request: Request, host: str) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in request.headers.items() if name not in {*_HOP, "host"}]
    client = request.client.host if request.client else "127.0.0.1"
    before = request.headers.get("x-forwarded-for")
    seen = f"{before}, {client}" if before else client
    kept = [(name, value) for name, value in kept if not name.startswith("x-forwarded-")]
    added = {"host": host, "x-forwarded-for": seen, "x-forwarded-proto": "https", "x-forwarded-port": "443"}
    return [*kept, *added.items()]


def _kept(headers: Mapping[str, Any], raw: bool = False) -> dict[str, str]:
    left_out = _HOP if raw else {*_HOP, "content-length", "content-encoding"}
    return {name: value for name, value in headers.items() if name.lower() not in left_out}
