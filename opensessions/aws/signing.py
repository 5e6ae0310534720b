"""Requests signed by AWS's Signature Version 4, with the credentials of whoever runs this."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

_SIGNED = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")


class SigV4(httpx2.Auth):
    """For one service of one region. `credentials` are botocore's; they renew themselves, in a thread."""

    requires_request_body = True

    def __init__(self, credentials: Any, service: str, region: str) -> None:
        self._credentials, self._service, self._region = credentials, service, region

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        frozen = await asyncio.to_thread(self._credentials.get_frozen_credentials)
        told = {"Content-Type": request.headers.get("content-type", "")}
        copy = AWSRequest(request.method, str(request.url), headers=told, data=request.content)
        SigV4Auth(frozen, self._service, self._region).add_auth(copy)
        for name in _SIGNED:
            if value := copy.headers.get(name):
                request.headers[name] = value
        yield request
