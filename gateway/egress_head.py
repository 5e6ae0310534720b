"""What a sandbox's program asks an HTTP proxy for, and the heads that go on from there."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass

from gateway.dataplane.heads import BLANK, BadHead, Request, Response, read_request
from gateway.dataplane.replies import status_line

HEAD_LIMIT = 32 * 1024

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r\n")
_AUTHORITY = re.compile(rb"(\[[^\]@]*\]|[^:@\[\]/?#]+)(?::([0-9]{1,5}))?")
_ABSOLUTE = re.compile(rb"http://([^/?#]*)([/?][^#]*)?", re.IGNORECASE)
_HOST = re.compile(rb"\r\nhost[ \t]*:", re.IGNORECASE)
_HOP_BY_HOP = frozenset(
    (
        *(
            b"connection",
            b"keep-alive",
            b"proxy-connection",
            b"te",
            b"trailer",
            b"upgrade",
            b"http2-settings",
        ),
        *(b"proxy-authorization", b"proxy-authenticate", b"proxy-authentication-info"),
    )
)


@dataclass(frozen=True)
class Asked:
    """One request to the proxy: `host` is as it was written, `request` has its target in origin-form.

    `tunnel` is true for CONNECT.
    """

    host: str
    port: int
    tunnel: bool
    request: Request


async def read_head(
    reader: asyncio.StreamReader, first: bytes = b"", limit: int = HEAD_LIMIT
) -> tuple[bytes, bytes]:
    """A head with its blank line, and what came behind it in the same read; `first` was read before.

    Raises BadHead, and EOFError if the other side ends before the head does.
    """
    buffer = bytearray(first)
    while (end := buffer.find(BLANK)) < 0:
        if len(buffer) > limit:
            raise BadHead(f"the head may have {limit} bytes", 431)
        if b"\n\n" in buffer or b"\n\r\n" in buffer:
            raise BadHead("lines must end with CR LF")
        data = await reader.read(16 * 1024)
        if not data:
            raise EOFError
        buffer += data
    if end + 4 > limit:
        raise BadHead(f"the head may have {limit} bytes", 431)
    return bytes(buffer[: end + 4]), bytes(buffer[end + 4 :])


def asked(head: bytes) -> Asked:
    """Judges the head of a request to the proxy: CONNECT, or a target with http://. Raises BadHead."""
    line = _LINE.match(head)
    if line is None:
        raise BadHead("the request line must be METHOD target HTTP/1.1")
    method, target, minor = line.groups()
    fields = head[line.end() - 2 :]
    if method == b"CONNECT":
        return _tunnel(target, fields)
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadHead("this is the egress proxy: it takes CONNECT host:443, and GET http://host/path")
    host, port = authority(absolute[1], 80)
    path = absolute[2] or b"/"
    path = path if path.startswith(b"/") else b"/" + path
    request = read_request(b"%b %b HTTP/1.%b%b" % (method, path, minor, _with_host(fields)))
    return Asked(host, port, False, request)


def _tunnel(target: bytes, fields: bytes) -> Asked:
    host, port = authority(target, None)
    request = read_request(b"GET / HTTP/1.1%b" % _with_host(fields))
    if request.length or request.declared not in (None, b"0"):
        raise BadHead("a CONNECT has no body")
    return Asked(host, port, True, request)


def _with_host(fields: bytes) -> bytes:
    # Older clients send none with CONNECT, and it says nothing here: the target decides.
    return fields if _HOST.search(fields) else b"\r\nHost: unsaid" + fields


def authority(text: bytes, default: int | None) -> tuple[str, int]:
    """Host and port of `host:port`; user names are refused. Raises BadHead."""
    found = _AUTHORITY.fullmatch(text)
    if found is None or (found[2] is None and default is None):
        raise BadHead("the target must name a host, and CONNECT a port too")
    try:
        return found[1].decode(), int(found[2]) if found[2] is not None else int(default or 0)
    except UnicodeDecodeError:
        raise BadHead("the host is not UTF-8") from None


def proxy_token(request: Request) -> str | None:
    """The egress token: the password of Basic, or a Bearer. None if there is none, or more than one."""
    values = [value for name, _, value in request.fields if name == b"proxy-authorization"]
    if len(values) != 1:
        return None
    scheme, _, credentials = values[0].partition(b" ")
    try:
        if scheme.lower() == b"bearer":
            return credentials.strip().decode("ascii") or None
        if scheme.lower() == b"basic":
            pair = base64.b64decode(credentials.strip(), validate=True).decode("ascii")
            return pair.partition(":")[2] or None
    except (binascii.Error, UnicodeDecodeError):
        pass
    return None


def onward(request: Request, host: str, port: int) -> bytes:
    """The head for the server that was asked for: its name from the target, and one request a connection."""
    version = b"1.0" if request.old else b"1.1"
    name = host if port == 80 else f"{host}:{port}"
    lines = [b"%b %b HTTP/%b" % (request.method, request.target, version), b"Host: " + name.encode("ascii")]
    lines += _kept(request.fields, request.named, b"host")
    return b"\r\n".join((*lines, b"Connection: close", b"", b""))


def back(response: Response) -> bytes:
    """The head for the sandbox; a final one says that the connection ends with it."""
    lines = [status_line(response.status)[:-2], *_kept(response.fields, response.named, b"")]
    if response.status >= 200:
        lines.append(b"Connection: close")
    return b"\r\n".join((*lines, b"", b""))


def _kept(fields: list[tuple[bytes, bytes, bytes]], named: frozenset[bytes], also: bytes) -> list[bytes]:
    dropped = _HOP_BY_HOP | (named - {b"content-length", b"transfer-encoding"}) | {also}
    return [b"%b: %b" % (name, value) for lower, name, value in fields if lower not in dropped]
