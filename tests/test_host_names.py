"""Host names as sandboxes write them, and what an allowlist's entry means."""

from __future__ import annotations

import pytest

from gateway.egress_policy import EgressPolicy
from opensessions.hosts import BadHost, host_name, listed

NAMES = {
    "example.com": "example.com",
    "EXAMPLE.COM.": "example.com",
    "a-b.c1.example.com": "a-b.c1.example.com",
    "bücher.example": "xn--bcher-kva.example",
    "BÜCHER.Example.": "xn--bcher-kva.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "ｅｘａｍｐｌｅ．ｃｏｍ": "example.com",  # noqa: RUF001
    "1e100.net": "1e100.net",
    "0x7f.example": "0x7f.example",
}
BAD = [
    "", ".", "..", "localhost", "LOCALHOST.", "internal", "127.1", "127.0.0.1", "0x7f.1", "0x7f000001",
    "2130706433", "0", "0177.0.0.1", "1.2.3.4.", "a.b.1", "a.0x", "[::1]", "[::ffff:127.0.0.1]",
    "::1", "①②⑦.⓪.⓪.①",
    "127。0。0。1", "example.com\0.x", "example.com\n", "exa mple.com", "user@example.com",
    "example.com%00", "fe80::1%eth0",
    "example..com", ".example.com", "-a.example.com", "a-.example.com", "a_b.example.com", "example.com..",
    "example.com:443", "example.com/", "*.example.com", "a" * 64 + ".com", "\u200b.com",
    ".".join(["a" * 60] * 5),
    "ex\u00adample.com\u2028", "e\u0301" * 300 + ".com",
]  # fmt: skip


@pytest.mark.parametrize("text", NAMES)
def test_one_spelling(text: str) -> None:
    assert host_name(text) == NAMES[text]


@pytest.mark.parametrize("text", BAD)
def test_i16_i21_no_host_name(text: str) -> None:
    with pytest.raises(BadHost):
        host_name(text)


LISTS = [
    ("example.com", ["example.com"], True),
    ("example.com", ["EXAMPLE.com."], True),
    ("evilexample.com", ["example.com"], False),
    ("example.com.evil.test", ["example.com"], False),
    ("www.example.com", ["example.com"], False),
    ("www.example.com", [".example.com"], True),
    ("a.b.example.com", ["*.example.com"], True),
    ("example.com", ["*.example.com"], False),
    ("evilexample.com", ["*.example.com"], False),
    ("evilexample.com", [".example.com"], False),
    ("example.com", [], False),
    ("example.com", ["", ".", "*", "*.", " ", "https://example.com", "*example.com"], False),
    ("example.com", ["other.test", "example.com"], True),
]


@pytest.mark.parametrize(("host", "entries", "found"), LISTS)
def test_i21_lists(host: str, entries: list[str], found: bool) -> None:
    assert listed(host, entries) is found


@pytest.mark.parametrize(
    ("allow", "session", "host", "word"),
    [
        (None, None, "example.com", None),
        (None, (), "example.com", "allowed_hosts"),
        ((), None, "example.com", "OPENSESSIONS_EGRESS_ALLOW"),
        ((), ("example.com",), "example.com", "OPENSESSIONS_EGRESS_ALLOW"),
        (("example.com",), ("other.test",), "example.com", "allowed_hosts"),
        (("example.com",), ("example.com", "other.test"), "other.test", "OPENSESSIONS_EGRESS_ALLOW"),
        ((".example.com",), ("a.example.com",), "a.example.com", None),
        (("*.sessions.test",), None, "api.sessions.test", "own"),
    ],
)
def test_i21_a_sessions_list_only_narrows(
    allow: tuple[str, ...] | None, session: tuple[str, ...] | None, host: str, word: str | None
) -> None:
    objection = EgressPolicy(allow, ("api.sessions.test",)).objection(host, 443, session)
    assert objection is None if word is None else word in (objection or "")
