"""Where a webhook may lead."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from opensessions.addresses import look_up, strict
from opensessions.errors import InvalidRequest
from opensessions.hosts import BadHost, at_or_below, host_name

LONGEST_URL = 2048
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[::1\])(:(?P<port>[0-9]{1,5}))?(?P<path>[/?][!-~]*)?"
)
_LOOPBACK = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "[::1]": "::1"}


class Unreachable(Exception):
    """A destination that is not to be dialled, or cannot be; the text says why."""


@dataclass(frozen=True, slots=True)
class Destination:
    """`path` is what is asked for, the query with it. `local`: on this machine."""

    secure: bool
    host: str
    port: int
    path: str
    local: bool = False

    @property
    def authority(self) -> str:
        """What the `Host` header says."""
        return self.host if self.port == (443 if self.secure else 80) else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Destinations:
    """https on port 443 of a host on the public internet, which is none of `own_names` or below one; with
    `loopback` also http and https on any port of this machine.
    """

    own_names: tuple[str, ...] = ()
    loopback: bool = False

    def parse(self, url: str, field: str = "url") -> Destination:
        """Raises InvalidRequest that says what is wrong with the URL, which is in `field`."""
        try:
            return self._parsed(url)
        except ValueError as error:
            raise InvalidRequest(f"{field} {error}", field) from None

    def _parsed(self, url: str) -> Destination:
        found = _URL.fullmatch(url) if len(url) <= LONGEST_URL and "#" not in url else None
        if not found:
            raise ValueError("must be an https address: at most 2,048 ASCII characters, no user, no fragment")
        secure = found["scheme"] == "https"
        port = int(found["port"] or (443 if secure else 80))
        host, path = found["host"].lower(), found["path"] or "/"
        path = path if path.startswith("/") else f"/{path}"
        if self.loopback and host in _LOOPBACK and 0 < port < 2**16:
            return Destination(secure, host, port, path, local=True)
        if not secure:
            raise ValueError("must begin with https://")
        if port != 443:
            raise ValueError("must be on port 443")
        return Destination(secure, self._named(host), port, path)

    def _named(self, text: str) -> str:
        try:
            host = host_name(text)
        except BadHost as bad:
            raise ValueError(f"leads to {text}: {bad}") from None
        if at_or_below(host, self.own_names):
            raise ValueError(f"leads to {host}, which is a name of this server's own")
        return host

    def addresses(
        self, destination: Destination, resolve: Callable[[str], Sequence[str]] = look_up
    ) -> Sequence[str]:
        """Where to connect. The name is asked for once, and all of its addresses must be public. Raises
        Unreachable.
        """
        if destination.local:
            return (_LOOPBACK[destination.host],)
        try:
            found = resolve(destination.host)
        except OSError:
            found = ()
        if not found:
            raise Unreachable("Its name cannot be resolved.")
        if not all(map(strict, found)):
            raise Unreachable("Its name leads to an address that is not public.")
        return found
