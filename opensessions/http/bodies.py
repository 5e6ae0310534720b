"""Reading a request's body without letting it grow."""

from typing import Annotated

from fastapi import Depends, Request

from opensessions.errors import InvalidRequest, TooLarge

LARGEST_BODY = 2**20
LARGEST_ARCHIVED = 4 * 2**20
"""What is said of one archive: some hundred parts and files, and the text of a diff. In base 64, as Lambda's
Invoke has it, it stays under the 6 MB that fit there.
"""


async def read_body(request: Request) -> bytes:
    """The body, at most 1 MiB. Nothing beyond the bound is kept, and nothing read after it.

    Raises TooLarge, and InvalidRequest when a body is there that is not `application/json`.
    """
    return await read_json(request, LARGEST_BODY)


async def read_json(request: Request, most: int) -> bytes:
    """Like `read_body`, for one that may have `most` bytes."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > most:
        _too_large(most)
    body = bytearray()
    async for chunk in request.stream():
        if chunk and _media_type(request) != "application/json":
            raise InvalidRequest("The body must be JSON: send Content-Type: application/json.")
        body += chunk
        if len(body) > most:
            _too_large(most)
    request.state.body = bytes(body)  # for who looks at the request when it is over
    return bytes(body)


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _too_large(most: int) -> None:
    raise TooLarge(f"The body is larger than {most:,} bytes ({most // 2**20} MiB).")


Body = Annotated[bytes, Depends(read_body)]
