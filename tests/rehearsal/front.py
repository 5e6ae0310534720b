"""What stands before the deployed system on this machine, as API Gateway and the load balancer do on AWS.

Which methods stream, and where to, is read from the deployed template and from API Gateway's own answer about
them. Everything else goes to ministack's execute-api. Names that are not the API's lead to a gateway.
"""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tests.rehearsal.emulator_process import Emulator
from tests.rehearsal.served import Served

LARGEST = 10 * 1024 * 1024
PATIENCE = 29.0
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
Address = tuple[str, int]


@dataclass(frozen=True)
class Streamed:
    """A method whose answer is passed through as it comes; `path` is a pattern of the public path, as it is
    sent. Of requests, only bodies of a `binary` type are passed on as they are.
    """

    method: str
    path: re.Pattern[str]
    uri: str
    seconds: float
    binary: frozenset[str]

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
    found, resources = [], template["Resources"].values()
    [api] = [each["Properties"] for each in resources if each["Type"] == "AWS::ApiGateway::RestApi"]
    for resource in resources:
        properties = resource.get("Properties", {})
        if properties.get("Integration", {}).get("ResponseTransferMode") != "STREAM":
            continue
        where = {
            "restApiId": physical[properties["RestApiId"]["Ref"]],
            "resourceId": physical[properties["ResourceId"]["Ref"]],
        }
        made = gateway.get_method(**where, httpMethod=properties["HttpMethod"])["methodIntegration"]
        path = gateway.get_resource(**where)["path"]
        greedy = re.sub(r"{(\w+)\+}", r"(?P<\1>.+)", path)
        pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", greedy))
        seconds, binary = made["timeoutInMillis"] / 1000, frozenset(api.get("BinaryMediaTypes", []))
        found.append(Streamed(properties["HttpMethod"], pattern, made["uri"], seconds, binary))
    return found


class Front:
    """Serves the API at `url`, and previews, by their names, at `address`. `gateways` are the public sides of
    those that live; they are taken in turns. Browsers find previews at `<sandbox>-p<port>.localhost`, too, or
    with `previews=trial` at `previews.localhost`.
    """

    def __init__(self, emulator: Emulator, outputs: Mapping[str, str], streams: Iterable[Streamed]) -> None:
        self.gateways: list[Address] = []
        public = urlsplit(outputs["ApiUrl"])
        api = (public.hostname or "").split(".")[0]
        self._api_host = f"{api}.execute-api.localhost:{emulator.port}"
        self._emulator, self._stage, self._streams = emulator, public.path.strip("/"), tuple(streams)
        self._previews = urlsplit(outputs.get("PreviewUrl", "")).netloc
        self._turn = itertools.count()
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=32)
        self._http = httpx2.AsyncClient(limits=limits, timeout=PATIENCE, trust_env=False)
        self._served = Served(self, around=self._http)
        self.address = self._served.address
        self.url = f"{self.address}/{self._stage}"

    def close(self) -> None:
        self._served.close()

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
        host = self._public(request.headers.get("host", "").split(":")[0])
        if host != "127.0.0.1":
            return await self._pass_on(request, self._gateway(), request.scope["raw_path"].decode(), host)
        stage, slash, rest = request.scope["raw_path"].decode().removeprefix("/").partition("/")
        if stage != self._stage:
            return Response('{"message": "Forbidden"}', 403)
        for stream in self._streams:
            if target := stream.target(request.method, slash + rest):
                return await self._streamed(request, stream, target)
        return await self._invoked(request)

    async def _streamed(self, request: Request, stream: Streamed, target: str) -> Response:
        body = await request.body()
        if len(body) > LARGEST:
            return Response('{"message": "Request Too Long"}', 413)
        if request.headers.get("content-type", "") not in stream.binary:
            body = body.decode(errors="replace").encode()
        named = urlsplit(stream.uri).hostname or ""
        return await self._pass_on(request, self._gateway(), target, named, stream.seconds, body)

    def _public(self, host: str) -> str:
        label, _, end = host.partition(".")
        return self._previews.replace("{sandbox}-p{port}", label) if end == "localhost" else host

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
        given = Response(answer.content, answer.status_code)
        left_out = {*_HOP, "content-length", "content-encoding"}
        given.raw_headers += [pair for pair in _raw(answer) if pair[0].decode() not in left_out]
        return given

    async def _pass_on(
        self,
        request: Request,
        to: Address,
        path: str,
        host: str,
        seconds: float | None = None,
        body: bytes | None = None,
    ) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        has_body = request.method not in ("GET", "HEAD")
        headers = _headers(request, host)
        if body is not None:
            headers = [(name, value) for name, value in headers if name != "content-length"]
        sent = self._http.build_request(
            request.method,
            f"http://{to[0]}:{to[1]}{path}{query}",
            headers=headers,
            content=(request.stream() if body is None else body) if has_body else None,
            timeout=httpx2.Timeout(PATIENCE, read=300),
        )
        answer = await self._http.send(sent, stream=True)
        given = StreamingResponse(_body(answer, seconds), answer.status_code)
        given.raw_headers = [pair for pair in _raw(answer) if pair[0].decode() not in _HOP]
        return given

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


def _raw(answer: httpx2.Response) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in answer.headers.raw]
