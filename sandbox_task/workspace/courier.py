"""Parts of archives on their way to where they are kept, and back."""

import asyncio
import base64
import hashlib
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from opensessions.archives import CHECKSUM, Part
from sandbox_task.gateway import PATIENT, Backoff, refuse
from sandbox_task.workspace.processes import ArchiveFailed

log = logging.getLogger(__name__)
T = TypeVar("T")
Answer = TypeVar("Answer", bound=BaseModel)
_CHUNK = 256 * 1024
_UNENCODED = {"Accept-Encoding": "identity"}


class _Url(BaseModel):
    url: str


class _Again(Exception):
    """It did not work this time."""

    def __init__(self, what: str, pause: float = 0.0) -> None:
        super().__init__(what)
        self.pause = pause


class Courier:
    """Speaks with the gateway by `client`, and with the store by way of the proxy `egress_url`, which alone
    sees the worker's `token`. What may work the next time is tried `tries` times; after that, and for a
    refusal, methods raise ArchiveFailed. They raise Revoked when the sandbox is over.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        egress_url: str,
        token: str,
        backoff: Backoff = PATIENT,
        tries: int = 8,
    ) -> None:
        self._client, self._backoff, self._tries = client, backoff, tries
        self._proxy = httpx2.Proxy(egress_url, auth=("sandbox", token))
        self._outside: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outside is not None:
            await self._outside.aclose()

    async def told(self, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
        """The gateway's answer to a POST that may come twice."""
        return await self._persistently(lambda: self._told(path, body, answer))

    async def store(self, path: str, data: memoryview) -> Part:
        """Put a part where the gateway says for `path`."""
        part = Part(size=len(data), sha256=await asyncio.to_thread(_sha256, data))

        async def attempt() -> Part:
            place = await self._told(path, part, _Url)
            await self._put(place.url, data, part.sha256)
            return part

        return await self._persistently(attempt)

    async def fetched(self, path: str, part: Part) -> memoryview:
        """The bytes of a part, which are those that were stored."""
        return await self._persistently(lambda: self._fetched(path, part))

    async def _persistently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        tries = 0
        while True:
            try:
                return await attempt()
            except _Again as again:
                tries += 1
                if tries >= self._tries:
                    raise ArchiveFailed(f"{again} (tried {tries} times)") from None
                log.info("An archive is held up: %s", again)
                await self._backoff.sleep(tries - 1, at_least=again.pause)

    async def _told(self, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
        headers = {"Content-Type": "application/json"}
        try:
            response = await self._client.post(path, content=body.model_dump_json(), headers=headers)
        except httpx2.HTTPError as error:
            raise _Again(f"The gateway could not be reached: {_named(error)}") from None
        await _judge(response)
        try:
            return answer.model_validate_json(response.content)
        except ValidationError:
            raise _Again("The gateway's answer was no answer") from None

    async def _put(self, url: str, data: memoryview, sha256: str) -> None:
        async def body() -> AsyncIterator[bytes]:
            for start in range(0, len(data), _CHUNK):
                yield bytes(data[start : start + _CHUNK])

        client, headers = await self._client_for(url), {"Content-Length": str(len(data))}
        if client is not self._client:
            headers[CHECKSUM] = base64.b64encode(bytes.fromhex(sha256)).decode()
        try:
            response = await client.put(url, content=body(), headers=headers)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _Again(f"A part of the archive could not be stored: {_named(error)}") from None
        if client is self._client:
            await _judge(response)
        elif not response.is_success:  # the address is good for a while only: the next try has a new one
            raise _Again(f"The store answered {response.status_code} to a part of the archive")

    async def _fetched(self, path: str, part: Part) -> memoryview:
        try:
            async with self._client.stream("GET", path, headers=_UNENCODED) as response:
                if response.status_code != 307:
                    await _judge(response)
                    return await _checked(response, part)
                url = response.headers.get("Location", "")
            client = await self._client_for(url)
            async with client.stream("GET", url, headers=_UNENCODED) as response:
                if not response.is_success:
                    raise _Again(f"The store answered {response.status_code} to a part of the archive")
                return await _checked(response, part)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _Again(f"A part of the archive could not be had: {_named(error)}") from None

    async def _client_for(self, url: str) -> httpx2.AsyncClient:
        if url.startswith("/") and not url.startswith("//"):
            return self._client
        if self._outside is None:
            # All certificates of the machine are read, which takes a while; the gateway needs none.
            trusting = await asyncio.to_thread(ssl.create_default_context)
            self._outside = httpx2.AsyncClient(
                proxy=self._proxy, verify=trusting, trust_env=False, timeout=self._client.timeout
            )
        return self._outside


async def _checked(response: httpx2.Response, part: Part) -> memoryview:
    """The body, if it is the part. It is never larger in memory than the part is."""
    memory, filled = memoryview(bytearray(part.size)), 0
    async for chunk in response.aiter_raw(_CHUNK):
        if filled + len(chunk) > part.size:
            raise _Again("A part of the archive is longer than it was")
        memory[filled : filled + len(chunk)] = chunk
        filled += len(chunk)
    if filled < part.size:
        raise _Again("A part of the archive is shorter than it was")
    if await asyncio.to_thread(_sha256, memory) != part.sha256:
        raise _Again("A part of the archive is not what was stored: its checksum is another")
    return memory


async def _judge(response: httpx2.Response) -> None:
    """Raise for an answer of the gateway that is none: what may be better next time, and what will not."""
    refuse(response.status_code)
    if response.is_success:
        return
    what = f"The gateway answered {response.status_code}{_said(await response.aread())}"
    if response.status_code < 500 and response.status_code not in (408, 429):
        raise ArchiveFailed(what)
    value = response.headers.get("Retry-After", "")
    raise _Again(what, pause=min(float(value), 60.0) if value.isdigit() else 0.0)


def _said(body: bytes) -> str:
    """The message of an error, where there is one."""
    try:
        return f": {json.loads(body)['error']['message']}"
    except (ValueError, KeyError, TypeError):
        return ""


def _named(error: Exception) -> str:
    return f"{type(error).__name__} ({error})" if str(error) else type(error).__name__


def _sha256(data: memoryview) -> str:
    return hashlib.sha256(data).hexdigest()
