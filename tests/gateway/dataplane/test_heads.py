import pytest

from gateway.dataplane.heads import CHUNKED, TO_THE_END, BadHead, read_request, read_response

_BAD_LINES = {
    "space-twice": b"GET  / HTTP/1.1",
    "no-version": b"GET /",
    "version-0.9": b"GET / HTTP/0.9",
    "version-1.2": b"GET / HTTP/1.2",
    "version-2": b"GET / HTTP/2.0",
    "preface-of-http2": b"PRI * HTTP/2.0",
    "rtsp": b"DESCRIBE / RTSP/1.0",
    "ice": b"SOURCE / ICE/1.0",
    "space-behind": b"GET / HTTP/1.1 ",
    "lower-case-method": b"get / HTTP/1.1",
    "unknown-method": b"FOO / HTTP/1.1",
    "connect": b"CONNECT example.com:443 HTTP/1.1",
    "absolute-form": b"GET http://example.com/ HTTP/1.1",
    "no-slash": b"GET path HTTP/1.1",
    "star-with-get": b"GET * HTTP/1.1",
    "fragment": b"GET /a#b HTTP/1.1",
    "space-in-path": b"GET /a b HTTP/1.1",
    "control-in-path": b"GET /\x01 HTTP/1.1",
    "high-byte-in-path": b"GET /\xff HTTP/1.1",
    "tab": b"GET\t/ HTTP/1.1",
}
_BAD_FIELDS = {
    "two-hosts": b"Host: b",
    "two-hosts-alike": b"Host: a",
    "no-colon": b"Nonsense",
    "space-before-colon": b"A : b",
    "space-before-name": b" A: b",
    "obs-fold": b"A: b\r\n c",
    "obs-fold-tab": b"A: b\r\n\tc",
    "bare-lf": b"A: b\nC: d",
    "bare-cr": b"A: b\rC: d",
    "nul": b"A: \x00",
    "control": b"A: \x01",
    "delete": b"A: \x7f",
    "odd-name": b"A(: b",
    "high-byte-in-name": b"\xe9: b",
    "cl-te": b"Content-Length: 3\r\nTransfer-Encoding: chunked",
    "te-cl": b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    "cl-twice": b"Content-Length: 3\r\nContent-Length: 3",
    "cl-twice-other": b"Content-Length: 3\r\nContent-Length: 4",
    "cl-list": b"Content-Length: 3, 3",
    "cl-signed": b"Content-Length: +3",
    "cl-negative": b"Content-Length: -3",
    "cl-hex": b"Content-Length: 0x3",
    "cl-huge": b"Content-Length: 99999999999999999999999",
    "cl-empty": b"Content-Length:",
    "cl-words": b"Content-Length: 3 3",
    "te-gzip": b"Transfer-Encoding: gzip, chunked",
    "te-identity": b"Transfer-Encoding: identity",
    "te-twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "te-list": b"Transfer-Encoding: chunked, chunked",
    "te-odd": b"Transfer-Encoding: xchunked",
    "te-quoted": b'Transfer-Encoding: "chunked"',
    "te-vertical-tab": b"Transfer-Encoding: \x0bchunked",
    "te-parameter": b"Transfer-Encoding: chunked;a=b",
}
_BAD_HOSTS = {
    "none": b"GET / HTTP/1.1\r\n\r\n",
    "none-1.0": b"GET / HTTP/1.0\r\n\r\n",
    "empty": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "userinfo": b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
    "path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "comma": b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
    "port-words": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "port-signed": b"GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n",
}
BAD_REQUESTS = {
    **{name: line + b"\r\nHost: a\r\n\r\n" for name, line in _BAD_LINES.items()},
    **{name: b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n" for name, field in _BAD_FIELDS.items()},
    **{f"host-{name}": head for name, head in _BAD_HOSTS.items()},
    "te-in-1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
}
BAD_RESPONSES = {
    "not-http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "icy": b"ICY 200 OK\r\n\r\n",
    "version-2": b"HTTP/2.0 200 OK\r\n\r\n",
    "version-0.9": b"HTTP/0.9 200 OK\r\n\r\n",
    "status-099": b"HTTP/1.1 099 Odd\r\n\r\n",
    "status-1000": b"HTTP/1.1 1000 Odd\r\n\r\n",
    "status-20": b"HTTP/1.1 20 Odd\r\n\r\n",
    "status-signed": b"HTTP/1.1 +200 OK\r\n\r\n",
    "cl-te": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "te-cl": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    "cl-twice": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
    "cl-signed": b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
    "te-gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "te-twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "te-in-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "obs-fold": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "bare-lf": b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
    "space-before-colon": b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
}


@pytest.mark.parametrize("head", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_request_that_two_parsers_could_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(BadHead):
        read_request(head)


@pytest.mark.parametrize("head", BAD_RESPONSES.values(), ids=BAD_RESPONSES)
def test_a_response_that_two_parsers_could_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(BadHead):
        read_response(head, b"GET")


def test_another_expectation_than_100_continue_is_417() -> None:
    with pytest.raises(BadHead) as refused:
        read_request(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n")
    assert refused.value.status == 417


def test_a_path_is_kept_as_it_was_sent() -> None:
    target = b'/a//b/../%2F%2e/[1]?q={x}|\\^`"<>&e=%zz'
    assert read_request(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n").target == target


def test_values_lose_the_spaces_around_them_and_may_be_empty_or_latin() -> None:
    request = read_request(b"GET / HTTP/1.1\r\nHost: a\r\nA: \t b c \t\r\nB:\r\nC: \xe9\r\n\r\n")
    assert [value for _, _, value in request.fields] == [b"a", b"b c", b"", b"\xe9"]


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"x, CLOSE", False),
        (b"1.0", b"", False),
        (b"1.0", b"Keep-Alive", True),
    ],
)
def test_keep_alive_is_as_version_and_connection_say(version: bytes, connection: bytes, keeps: bool) -> None:
    fields = b"Connection: " + connection + b"\r\n" if connection else b""
    assert read_request(b"GET / HTTP/" + version + b"\r\nHost: a\r\n" + fields + b"\r\n").keep_alive is keeps
    assert read_response(b"HTTP/" + version + b" 200 OK\r\n" + fields + b"\r\n", b"GET").keep_alive is keeps


@pytest.mark.parametrize(
    ("asked", "passed"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket", b"websocket"),
        (b"Connection: keep-alive, upgrade\r\nUpgrade: x/1, y", b"x/1, y"),
        (b"Upgrade: websocket", b""),
        (b"Connection: Upgrade", b""),
        (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM", b""),
        (b"Connection: Upgrade\r\nUpgrade: H2C, websocket", b"websocket"),
    ],
)
def test_O18_an_upgrade_is_passed_unless_it_is_to_http2(asked: bytes, passed: bytes) -> None:
    assert read_request(b"GET / HTTP/1.1\r\nHost: a\r\n" + asked + b"\r\n\r\n").upgrade == passed


@pytest.mark.parametrize(
    ("method", "status", "fields", "length", "declared"),
    [
        (b"GET", 200, b"Content-Length: 3\r\n", 3, b"3"),
        (b"GET", 200, b"Transfer-Encoding: chunked\r\n", CHUNKED, None),
        (b"GET", 200, b"", TO_THE_END, None),
        (b"HEAD", 200, b"Content-Length: 3\r\n", 0, b"3"),
        (b"HEAD", 200, b"Transfer-Encoding: chunked\r\n", 0, None),
        (b"HEAD", 200, b"", 0, None),
        (b"GET", 304, b"Content-Length: 3\r\n", 0, b"3"),
        (b"GET", 204, b"Content-Length: 3\r\n", 0, None),
        (b"GET", 204, b"Transfer-Encoding: chunked\r\n", 0, None),
        (b"GET", 103, b"Content-Length: 3\r\n", 0, None),
    ],
)
def test_the_length_of_a_body_is_judged_by_method_and_status_first(
    method: bytes, status: int, fields: bytes, length: int, declared: bytes | None
) -> None:
    response = read_response(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields), method)
    assert (response.length, response.declared) == (length, declared)
