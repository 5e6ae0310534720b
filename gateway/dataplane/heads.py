"""The heads of HTTP/1 messages: judged by llhttp, then by what a proxy between strangers must insist on.

A head is fed to llhttp alone, cut at its blank line; the body never passes the parser. What llhttp lets
through and two parsers could read in two ways is refused here.
"""

import re
from typing import Final

import httptools

BLANK: Final = b"\r\n\r\n"
HEAD_LIMIT: Final = 64 * 1024
"""The bytes that a head may have, blank line and all, on either side."""
CHUNKED: Final = -1
"""A body length: the chunked coding ends the body."""
TO_THE_END: Final = -2
"""A body length: the end of the connection ends the body (responses only)."""

Field = tuple[bytes, bytes, bytes]
"""A header field: name in lower case, name as sent, value without the spaces around it."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_TELLING = frozenset((b"host", b"connection", b"content-length", b"transfer-encoding", b"upgrade", b"expect"))
_NONE: frozenset[bytes] = frozenset()


class BadHead(Exception):
    """A head that is refused, with the status a client gets for it and a sentence that says why."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


class Request:
    """The head of a request that may be passed on.

    ``length`` is that of its body in bytes, or CHUNKED; ``declared`` its Content-Length if it has one.
    ``named`` are the fields that its Connection field names. ``old`` means HTTP/1.0. ``upgrade`` is the value
    of Upgrade when one is really asked for, without h2c. ``expects`` means that the body waits for a 100.
    ``repeatable`` requests have no body and may be sent again after a connection that turns out dead.
    """

    __slots__ = (
        "declared",
        "expects",
        "fields",
        "host",
        "keep_alive",
        "length",
        "method",
        "named",
        "old",
        "repeatable",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, old: bool, fields: list[Field]) -> None:
        self.method = method
        self.target = target
        self.old = old
        self.fields = fields
        self.host = b""
        self.length = 0
        self.declared: bytes | None = None
        self.named = _NONE
        self.keep_alive = not old
        self.upgrade = b""
        self.expects = False
        self.repeatable = False

    def field(self, name: bytes) -> bytes | None:
        """The first value of a field, by its name in lower case."""
        return next((value for lower, _, value in self.fields if lower == name), None)

    def again(self) -> bytes:
        """The head once more, as it came but for the spaces around values."""
        lines = [b"%b %b HTTP/1.%b\r\n" % (self.method, self.target, b"0" if self.old else b"1")]
        lines += [b"%b: %b\r\n" % (name, value) for _, name, value in self.fields]
        return b"".join((*lines, b"\r\n"))


class Response:
    """The head of a response that may be passed on.

    ``length`` is that of the body that follows on the wire in bytes, or CHUNKED, or TO_THE_END. ``declared``
    is the Content-Length to tell, which HEAD and 304 carry without a body.
    """

    __slots__ = ("declared", "fields", "keep_alive", "length", "named", "status", "upgrade")

    def __init__(self, status: int, fields: list[Field]) -> None:
        self.status = status
        self.fields = fields
        self.length = 0
        self.declared: bytes | None = None
        self.named = _NONE
        self.keep_alive = True
        self.upgrade = b""


class _Sink:
    """What llhttp calls. It must not hold the parser, or every head is a cycle for the collector."""

    __slots__ = ("fields", "target")

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.target = b""

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), name, value.strip(b" \t")))


def read_request(head: bytes) -> Request:
    """Judge a request's head, which ends with its blank line. Raises BadHead."""
    sink = _Sink()
    parser = httptools.HttpRequestParser(sink)
    _feed(parser, head, sink)
    method, target = parser.get_method(), sink.target
    line = b"%b %b HTTP/1." % (method, target)
    version = head[len(line) : len(line) + 3]
    if not head.startswith(line) or version not in (b"1\r\n", b"0\r\n"):
        raise BadHead("the request line must be METHOD /path HTTP/1.1")
    if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
        raise BadHead("the target must be a path that starts with a slash")
    if b"#" in target:
        raise BadHead("the target must not have a fragment")
    request = Request(method, target, version == b"0\r\n", sink.fields)
    _judge_request(request, [field for field in sink.fields if field[0] in _TELLING])
    return request


def read_response(head: bytes, method: bytes) -> Response:
    """Judge the head of a response to a request of this method. Raises BadHead."""
    sink = _Sink()
    parser = httptools.HttpResponseParser(sink)
    _feed(parser, head, sink)
    version, status = head[:9], parser.get_status_code()
    if version not in (b"HTTP/1.1 ", b"HTTP/1.0 ") or status < 100:
        raise BadHead("the status line is not one of HTTP/1")
    response = Response(status, sink.fields)
    _judge_response(response, version == b"HTTP/1.0 ", method)
    return response


_Parser = httptools.HttpRequestParser | httptools.HttpResponseParser


def _feed(parser: _Parser, head: bytes, sink: _Sink) -> None:
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise BadHead(str(error)) from None
    if head.count(b"\n") != len(sink.fields) + 2:
        raise BadHead("a header field is broken over lines")


def _judge_request(request: Request, telling: list[Field]) -> None:
    seen: dict[bytes, bytes] = {}
    for lower, _, value in telling:
        if lower not in seen:
            seen[lower] = value
        elif lower in (b"connection", b"upgrade"):
            seen[lower] += b"," + value
        else:
            raise BadHead(f"{lower.decode()} is given twice")
    host = seen.get(b"host")
    if host is None or not _HOST.fullmatch(host):
        raise BadHead("a request must have one Host field with a host name")
    request.host = host
    if len(seen) > 1:
        _judge_rest(request, seen)
    request.repeatable = not request.length and request.method in _REPEATABLE


def _judge_rest(request: Request, seen: dict[bytes, bytes]) -> None:
    request.length = _length(seen, request.old)
    request.declared = seen.get(b"content-length")
    if connection := seen.get(b"connection"):
        named = _tokens(connection)
        request.keep_alive = b"keep-alive" in named if request.old else b"close" not in named
        if b"upgrade" in named and not request.old:
            request.upgrade = _upgrade(seen.get(b"upgrade", b""))
        request.named = named
    if expect := seen.get(b"expect"):
        if expect.lower() != b"100-continue":
            raise BadHead("only 100-continue can be expected", 417)
        request.expects = request.length != 0 and not request.old


def _judge_response(response: Response, old: bool, method: bytes) -> None:
    seen: dict[bytes, bytes] = {}
    for lower, _, value in response.fields:
        if lower in _TELLING:
            if lower in seen and lower in (b"content-length", b"transfer-encoding"):
                raise BadHead(f"{lower.decode()} is given twice")
            seen[lower] = seen[lower] + b"," + value if lower in seen else value
    connection = seen.get(b"connection")
    response.named = _tokens(connection) if connection else _NONE
    response.keep_alive = b"keep-alive" in response.named if old else b"close" not in response.named
    response.upgrade = seen.get(b"upgrade", b"")
    status, length = response.status, _length(seen, old, TO_THE_END)
    if status < 200 or status == 204:
        return
    if length >= 0:
        response.declared = seen[b"content-length"]
    bodiless = method == b"HEAD" or status == 304
    response.length = 0 if bodiless else length


def _length(seen: dict[bytes, bytes], old: bool, unknown: int = 0) -> int:
    coding, length = seen.get(b"transfer-encoding"), seen.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise BadHead("content-length and transfer-encoding exclude each other")
        if old or coding.lower() != b"chunked":
            raise BadHead("the only transfer coding is chunked, in HTTP/1.1")
        return CHUNKED
    if length is None:
        return unknown
    if not length.isdigit():
        raise BadHead("content-length is not a number")
    return int(length)


def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t") for token in value.lower().split(b","))


def _upgrade(value: bytes) -> bytes:
    protocols = [protocol.strip(b" \t") for protocol in value.split(b",")]
    return b", ".join(p for p in protocols if p and not p.lower().startswith(b"h2"))
