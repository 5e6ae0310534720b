"""What is said differently on the two sides of a preview, as pure functions over heads.

The app must believe that it lives at http://localhost:<port>, the visitor that it lives at the preview's
origin, and neither may reach the other previews or the gateway through a header.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from gateway.dataplane.heads import CHUNKED, Request, Response
from gateway.dataplane.replies import OURS, Reply, status_line, text

HOPS: Final = b"x-preview-hops"
"""The field that counts how often a request has passed this proxy."""
HOP_LIMIT: Final = 3
OWN_COOKIES: Final = b"__host-os"
"""Cookies whose names start so (in any letter case) are the gateway's: no app sees or sets one."""

_CA_PATHS = (b"/.well-known/acme-challenge", b"/.well-known/pki-validation")
_NOT_FOUND = text(404, "Not found.")
_LOOP = text(508, "This request has gone round in a loop: the preview asks for itself.")


class Names:
    """What one preview is called: outside by its public origin, inside by localhost and the port."""

    __slots__ = ("host_line", "inside", "located", "outside")

    def __init__(self, origin: str, port: int) -> None:
        """``origin`` is scheme, host and port as a browser writes it: ``https://sb-1-p3000.example.com``."""
        self.outside = origin.encode("ascii")
        self.inside = b"http://localhost:%d" % port
        self.host_line = b"Host: localhost:%d\r\n" % port
        local = rb"(?:https?:)?//(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]):%d(?=[/?#]|$)" % port
        self.located = re.compile(local, re.IGNORECASE)


Rule = Callable[[bytes, Names], bytes | None]
"""A value as the other side shall see it; None drops the field."""


def _drop(value: bytes, names: Names) -> bytes | None:
    return None


def _origin(value: bytes, names: Names) -> bytes | None:
    return names.inside if value == names.outside else value


def _referer(value: bytes, names: Names) -> bytes | None:
    rest = value.removeprefix(names.outside)
    own = len(rest) != len(value) and rest[:1] in (b"", b"/", b"?", b"#")
    return names.inside + rest if own else value


def _cookie(value: bytes, names: Names) -> bytes | None:
    if OWN_COOKIES not in value.lower():
        return value
    pairs = [pair.strip(b" \t") for pair in value.split(b";")]
    return b"; ".join(pair for pair in pairs if not _is_own(pair)) or None


def _set_cookie(value: bytes, names: Names) -> bytes | None:
    if _is_own(value):
        return None
    if b"domain" not in value.lower():
        return value
    first, *attributes = value.split(b";")
    kept = [a for a in attributes if a.split(b"=")[0].strip(b" \t").lower() != b"domain"]
    return b";".join((first, *kept))


def _is_own(cookie: bytes) -> bool:
    # A nameless cookie "=__Host-os=x" reaches servers as if it had that name.
    return cookie.lstrip(b" \t=").lower().startswith(OWN_COOKIES)


def _location(value: bytes, names: Names) -> bytes | None:
    return names.located.sub(names.outside, value, 1) if names.located.match(value) else value


_HOP_BY_HOP = (
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"content-length",
)
_TO_APP: Mapping[bytes, Rule] = {
    **dict.fromkeys(_HOP_BY_HOP, _drop),
    **dict.fromkeys((b"host", b"expect", b"http2-settings", b"x-api-key", HOPS), _drop),
    # Whatever contradicts Host makes frameworks refuse their own pages.
    **dict.fromkeys((b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"), _drop),
    **dict.fromkeys((b"x-forwarded-server", b"x-forwarded-scheme", b"x-original-host"), _drop),
    b"origin": _origin,
    b"referer": _referer,
    b"cookie": _cookie,
}
_TO_VISITOR: Mapping[bytes, Rule] = {
    **dict.fromkeys(_HOP_BY_HOP, _drop),
    **dict.fromkeys((b"clear-site-data", b"alt-svc", b"nel", b"report-to"), _drop),
    **dict.fromkeys((b"public-key-pins", b"public-key-pins-report-only"), _drop),
    **dict.fromkeys((b"origin-agent-cluster", b"x-robots-tag"), _drop),
    b"set-cookie": _set_cookie,
    b"location": _location,
}


def to_app(request: Request, names: Names) -> bytes | Reply:
    """The head that the app gets, or the reply that the visitor gets instead."""
    if request.target.startswith(_CA_PATHS):
        return _NOT_FOUND
    hops = request.field(HOPS)
    count = 0 if hops is None else int(hops) if hops.isdigit() and len(hops) < 4 else HOP_LIMIT
    if count >= HOP_LIMIT:
        return _LOOP
    lines = [b"%b %b HTTP/1.1\r\n" % (request.method, request.target), names.host_line]
    lines += _pass(request, _TO_APP, names)
    lines.append(b"X-Preview-Hops: %d\r\n" % (count + 1))
    if request.length == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif request.declared is not None:
        lines.append(b"Content-Length: %d\r\n" % request.length)
    if request.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade)
    if request.expects:
        lines.append(b"Expect: 100-continue\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def to_visitor(response: Response, names: Names, framing: bytes) -> bytes:
    """The head of a final answer as the visitor gets it; ``framing`` are the lines on body and connection."""
    lines = [status_line(response.status), *_pass(response, _TO_VISITOR, names)]
    lines += (framing, OURS, b"\r\n")
    return b"".join(lines)


def interim(response: Response, names: Names) -> bytes:
    """The head of a 1xx answer as the visitor gets it; 101 keeps its Upgrade."""
    lines = [status_line(response.status), *_pass(response, _TO_VISITOR, names)]
    if response.status == 101:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % response.upgrade)
    lines.append(b"\r\n")
    return b"".join(lines)


def _pass(head: Request | Response, rules: Mapping[bytes, Rule], names: Names) -> list[bytes]:
    lines = []
    for lower, name, value in head.fields:
        rule = rules.get(lower)
        if rule is _drop or lower in head.named:
            continue
        passed = rule(value, names) if rule else value
        if passed is not None:
            lines.append(b"%b: %b\r\n" % (name, passed))
    return lines
