"""Host names as strangers may write them, and lists of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import idna

_NAME = re.compile(r"[a-z0-9.-]{1,253}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Resolvers and URL parsers read a name that ends so as an IPv4 address: 127.1, 0x7f.1, 2130706433.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class BadHost(ValueError):
    """A host that is refused before anybody is asked about it; the text says why."""


def host_name(text: str) -> str:
    """The one spelling of a host name: ASCII after IDNA, lower case, no dot at its end.

    Raises BadHost for an IP address in any spelling, for a name of one label (localhost, names of the
    network's own), and for whatever is not a host name.
    """
    if text.startswith("["):
        raise BadHost("IP addresses are refused; use a host name")
    name = text.lower() if text.isascii() else _ascii(text)
    name = name.removesuffix(".")
    if not _NAME.fullmatch(name):
        raise BadHost("this is not a host name")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        raise BadHost("IP addresses are refused; use a host name")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise BadHost("this is not a host name")
    if len(labels) < 2:
        raise BadHost("names without a dot are not on the internet")
    return name


def _ascii(text: str) -> str:
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise BadHost("this is not a host name") from None


def listed(host: str, entries: Iterable[str]) -> bool:
    """Whether an allowlist names `host`, which is `host_name`'s.

    `example.com` is that host alone; `*.example.com` and `.example.com` are the hosts below it, not itself.
    An entry that is neither matches nothing.
    """
    return any(_matches(host, entry.strip().lower().removesuffix(".")) for entry in entries)


def _matches(host: str, entry: str) -> bool:
    below = entry.removeprefix("*")
    return host == entry or (below.startswith(".") and len(below) > 1 and host.endswith(below))


def at_or_below(host: str, names: Iterable[str]) -> bool:
    """Whether `host` is one of `names` or below one; for names that are refused, where more is safer."""
    return any(host == name or host.endswith("." + name) for name in names)
