"""Which addresses a name has, and which are the public internet."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_PUBLIC_V6 = IPv6Network("2000::/3")
# What `is_global` calls global in one Python or another, though it leads somewhere else than it seems to:
# protocol assignments, the 6to4 relay; Teredo and its neighbours, 6to4, documentation.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")
)


def is_address(text: str) -> bool:
    """Whether this is an IP address, and no name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def strict(address: str, refused: Sequence[Network] = ()) -> bool:
    """Whether `address` is a plain public one, in none of the `refused` networks (those of one's own).

    Private, shared, local, reserved, multicast and documentation addresses are not, nor is anything that
    wraps another address; a v4-mapped address is judged as the v4 address in it. False for what is no
    address. Never raises.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        if ip.scope_id is not None:
            return False
        ip = ip.ipv4_mapped or ip
    if isinstance(ip, IPv6Address) and ip not in _PUBLIC_V6:
        return False
    if not ip.is_global or ip.is_multicast or ip.is_reserved:
        return False
    return not any(_within(ip, network) for network in (*_NOT_PUBLIC, *refused))


def _within(ip: IPv4Address | IPv6Address, network: Network) -> bool:
    return ip.version == network.version and ip in network


def look_up(host: str) -> list[str]:
    """All addresses of `host`, version 4 first, as the machine's resolver knows them; it may take its time.
    Raises OSError if there is none.
    """
    # The dot keeps the resolver from trying the name below the domains of the machine's own network.
    answers = socket.getaddrinfo(host + ".", None, type=socket.SOCK_STREAM)
    found = (str(address[0]) for *_, address in answers)
    return sorted(dict.fromkeys(found), key=lambda address: ":" in address)
