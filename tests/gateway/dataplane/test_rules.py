import pytest

from gateway.dataplane.heads import read_request, read_response
from gateway.dataplane.replies import Reply
from gateway.dataplane.rules import Names, interim, to_app, to_visitor
from tests.gateway.dataplane.stage import fields_of

_NAMES = Names("https://sb-1-p3000.example.com", 3000)
_OUT = b"https://sb-1-p3000.example.com"
_IN = b"http://localhost:3000"


def _app_sees(*lines: bytes, target: bytes = b"/") -> bytes | Reply:
    head = b"\r\n".join((b"GET " + target + b" HTTP/1.1", b"Host: sb-1-p3000.example.com", *lines, b"", b""))
    return to_app(read_request(head), _NAMES)


def _visitor_sees(*lines: bytes) -> list[bytes]:
    head = b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b""))
    passed = to_visitor(read_response(head, b"GET"), _NAMES, b"")
    return [
        line for line in passed.split(b"\r\n")[1:-2] if not line.startswith((b"Origin-Agent", b"X-Robots"))
    ]


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"Origin: " + _OUT, b"Origin: " + _IN),
        (b"Origin: https://other.example.com", b"Origin: https://other.example.com"),
        (b"Origin: " + _OUT + b".evil.test", b"Origin: " + _OUT + b".evil.test"),
        (b"Origin: null", b"Origin: null"),
        (b"Referer: " + _OUT, b"Referer: " + _IN),
        (b"Referer: " + _OUT + b"/a?b=" + _OUT, b"Referer: " + _IN + b"/a?b=" + _OUT),
        (b"Referer: " + _OUT + b".evil.test/", b"Referer: " + _OUT + b".evil.test/"),
        (b"Referer: https://other.example.com/", b"Referer: https://other.example.com/"),
        (b"Cookie: a=b; c=d", b"Cookie: a=b; c=d"),
        (b"Cookie: a=b; __Host-os=1;c=d; __host-os_x=2", b"Cookie: a=b; c=d"),
        (b"Cookie: a=__Host-os", b"Cookie: a=__Host-os"),
        (b"Cookie: __Host-os-preview=1", None),
        (b"Cookie: =__Host-os=1", None),
        (b"X-API-Key: osb_secret", None),
        (b"X-Forwarded-Host: sb-1-p3000.example.com", None),
        (b"X-Forwarded-Proto: https", None),
        (b"Forwarded: host=sb-1", None),
        (b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-For: 192.0.2.1"),
        (b"Authorization: Basic eA==", b"Authorization: Basic eA=="),
        (b"Proxy-Authorization: Basic eA==", None),
        (b"Keep-Alive: timeout=5", None),
        (b"Proxy-Connection: keep-alive", None),
        (b"TE: trailers", None),
        (b"Trailer: X", None),
        (b"HTTP2-Settings: AAM", None),
        (b"Connection: X-Foo\r\nX-Foo: 1", None),
        (b"x-CaSe: Kept", b"x-CaSe: Kept"),
    ],
)
def test_M4_what_the_app_sees_of_a_field(sent: bytes, seen: bytes | None) -> None:
    head = _app_sees(sent)
    assert isinstance(head, bytes)
    own = {b"Host: localhost:3000", b"X-Preview-Hops: 1"}
    assert [line for line in head.split(b"\r\n")[1:-2] if line not in own] == ([seen] if seen else [])
    assert head.count(b"Host: localhost:3000\r\n") == 1


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"Location: /login", b"Location: /login"),
        (b"Location: http://localhost:3000/a?b#c", b"Location: " + _OUT + b"/a?b#c"),
        (b"Location: http://127.0.0.1:3000", b"Location: " + _OUT),
        (b"Location: HTTPS://LOCALHOST:3000/", b"Location: " + _OUT + b"/"),
        (b"Location: //localhost:3000/x", b"Location: " + _OUT + b"/x"),
        (b"Location: http://[::1]:3000/x", b"Location: " + _OUT + b"/x"),
        (b"Location: http://localhost:30000/", b"Location: http://localhost:30000/"),
        (b"Location: http://localhost:3000.evil.test/", b"Location: http://localhost:3000.evil.test/"),
        (b"Location: http://localhost:3000@evil.test/", b"Location: http://localhost:3000@evil.test/"),
        (
            b"Location: https://x.test/?n=http://localhost:3000/",
            b"Location: https://x.test/?n=http://localhost:3000/",
        ),
        (b"Set-Cookie: a=b; Path=/; HttpOnly", b"Set-Cookie: a=b; Path=/; HttpOnly"),
        (b"Set-Cookie: a=b; Domain=example.com; Path=/", b"Set-Cookie: a=b; Path=/"),
        (b"Set-Cookie: a=b;DOMAIN = .x;domain", b"Set-Cookie: a=b"),
        (b"Set-Cookie: domain=b; Path=/", b"Set-Cookie: domain=b; Path=/"),
        (b"Set-Cookie: __Host-os=x; Secure; Path=/", None),
        (b"Set-Cookie: __hOST-OS_preview=x", None),
        (b"Set-Cookie:  =__Host-os=x", None),
        (b"Clear-Site-Data: *", None),
        (b"Alt-Svc: h3=x", None),
        (b"NEL: {}", None),
        (b"Report-To: {}", None),
        (b"Public-Key-Pins: x", None),
        (b"Keep-Alive: timeout=5", None),
        (b"Connection: close, X-Foo\r\nX-Foo: 1", None),
        (b"Upgrade: h2c", None),
        (b"X-Frame-Options: DENY", b"X-Frame-Options: DENY"),
    ],
)
def test_H6_what_the_visitor_sees_of_a_field(sent: bytes, seen: bytes | None) -> None:
    assert _visitor_sees(sent) == ([seen] if seen else [])


def test_every_final_answer_is_kept_apart_and_out_of_search_engines_once() -> None:
    head = b"HTTP/1.1 200 OK\r\nX-Robots-Tag: all\r\nOrigin-Agent-Cluster: ?0\r\n\r\n"
    fields = fields_of(to_visitor(read_response(head, b"GET"), _NAMES, b""))
    assert (fields[b"origin-agent-cluster"], fields[b"x-robots-tag"]) == (b"?1", b"noindex")


def test_a_reason_phrase_is_ours_whatever_the_app_writes() -> None:
    response = read_response(b"HTTP/1.1 200 \x01\x7f\xff\r\n\r\n", b"GET")
    assert to_visitor(response, _NAMES, b"").startswith(b"HTTP/1.1 200 OK\r\n")
    assert to_visitor(read_response(b"HTTP/1.1 799 X\r\n\r\n", b"GET"), _NAMES, b"")[:12] == b"HTTP/1.1 799"


def test_early_hints_pass_by_the_same_rules() -> None:
    response = read_response(b"HTTP/1.1 103 X\r\nLink: </a.css>\r\nClear-Site-Data: *\r\n\r\n", b"GET")
    assert interim(response, _NAMES) == b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"


@pytest.mark.parametrize("path", [b"/.well-known/acme-challenge/x", b"/.well-known/pki-validation/f.txt"])
def test_M4_no_app_can_get_a_certificate_for_its_preview(path: bytes) -> None:
    reply = _app_sees(target=path)
    assert isinstance(reply, Reply) and reply.status == 404


@pytest.mark.parametrize(
    ("hops", "answer"), [(b"0", b"1"), (b"2", b"3"), (b"3", 508), (b"x", 508), (b"-1", 508)]
)
def test_M4_a_request_that_goes_round_is_stopped_the_fourth_time(hops: bytes, answer: bytes | int) -> None:
    outcome = _app_sees(b"X-Preview-Hops: " + hops, b"Connection: X-Preview-Hops")
    if isinstance(outcome, Reply):
        assert outcome.status == answer
    else:
        assert fields_of(outcome)[b"x-preview-hops"] == answer
