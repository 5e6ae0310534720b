"""Reading a request's body without letting it grow."""

from typing import Annotated

from fastapi import Depends, Request

from opensessions.errors import InvalidRequest, TooLarge

LARGEST_BODY = 2**20


async def read_body(request: Request) -> bytes:
    """The body, at most 1 MiB. Nothing beyond the bound is kept, and nothing read after it.

    Raises TooLarge, and InvalidRequest when a body is there that is not `application/json`.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > LARGEST_BODY:
        _too_large()
    body = bytearray()
    async for chunk in request.stream():
        if chunk and _media_type(request) != "application/json":
            raise InvalidRequest("The body must be JSON: send Content-Type: application/json.")
        body += chunk
        if len(body) > LARGEST_BODY:
            _too_large()
    return bytes(body)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _too_large() -> None:
    raise TooLarge(f"The body is larger than {LARGEST_BODY:,} bytes (1 MiB).")


Body = Annotated[bytes, Depends(read_body)]
