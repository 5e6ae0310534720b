"""Where sandboxes may go: the operator's rules, narrowed by the session's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from opensessions.addresses import Network, strict
from opensessions.hosts import at_or_below, listed

PORTS = frozenset((80, 443))

Hosts = tuple[str, ...]
Authority = tuple[str, int]


@dataclass(frozen=True)
class EgressPolicy:
    """`allow` is OPENSESSIONS_EGRESS_ALLOW: None is any public host, empty is none.

    `own_names` are this installation's (API, previews, load balancer): they and all below them are refused,
    in lower case without a dot at the end. `own_networks` are refused though they may be public addresses.

    `bucket`, host and port, is where the blob store's presigned addresses lead (`authority_of` one). The
    worker of every session gets there by its own token, whatever the lists say and wherever the name leads,
    and its bytes are not counted against the session's: its archives take that way. For an agent, which has
    another token, it is a host like any other.
    """

    allow: Hosts | None = None
    own_names: Hosts = ()
    own_networks: tuple[Network, ...] = ()
    bucket: Authority | None = None

    def is_bucket(self, host: str, port: int) -> bool:
        """Whether this is the blob store, as a sandbox wrote it."""
        return self.bucket == (host.lower(), port)

    def narrowed(self, session: Hosts | None) -> bool:
        """Whether a list, and not the public policy, decides for a session with these `allowed_hosts`."""
        return self.allow is not None or session is not None

    def objection(self, host: str, port: int, session: Hosts | None) -> str | None:
        """Why `host`, as `host_name` spells it, is refused, naming the setting; None if it is not."""
        if port not in PORTS:
            return f"port {port} is closed; 80 and 443 are open"
        if at_or_below(host, self.own_names):
            return "it is a name of this server's own, which sandboxes do not reach"
        if self.allow is not None and not listed(host, self.allow):
            return "it is not on this server's list; the operator can add it to OPENSESSIONS_EGRESS_ALLOW"
        if session is not None and not listed(host, session):
            return "it is not on this session's list; agent_config.allowed_hosts can name it"
        return None

    def all_public(self, addresses: Sequence[str]) -> bool:
        """Whether there is an address, and every one is public and not this installation's own."""
        return bool(addresses) and all(strict(address, self.own_networks) for address in addresses)


def authority_of(url: str) -> Authority:
    """The host, in lower case, and the port that an http address leads to."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
