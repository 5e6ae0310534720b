"""A network apart from the machine's own, made of Linux's network namespaces: a router, and members with one
link to it. Needs root. There is no way between it and the machine but sockets that are opened inside.
"""

import ctypes
import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PLACES = Path("/run/netns")
_NEXT_HOP = "169.254.1.1"
_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Member:
    """`link` is the router's end of its link, `namespace` the other."""

    namespace: str
    link: str
    addresses: tuple[str, ...]


class Router:
    """`name`, with a number, is the name of each namespace. At first nothing is forwarded; see `load`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._numbers = itertools.count(1)
        _ip(f"netns add {name}")
        _ip("link set lo up", within=name)
        inside(name, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
        inside(name, _without_ipv6)
        self.load("*filter\n:INPUT DROP\n:FORWARD DROP\n:OUTPUT DROP\nCOMMIT\n")

    def join(self, *addresses: str) -> Member:
        number = next(self._numbers)
        member = Member(f"{self.name}-{number}", f"v{number}", addresses)
        _ip(
            f"netns add {member.namespace}",
            f"link add {member.link} netns {self.name} type veth peer name eth0 netns {member.namespace}",
        )
        inside(member.namespace, _without_ipv6)
        routes = [f"route add {address}/32 dev {member.link}" for address in addresses]
        _ip(
            f"addr add {_NEXT_HOP}/32 dev {member.link}", f"link set {member.link} up", *routes,
            within=self.name,
        )  # fmt: skip
        _ip(
            "link set lo up", *(f"addr add {address}/32 dev eth0" for address in addresses),
            "link set eth0 up", f"route add {_NEXT_HOP} dev eth0 scope link",
            f"route add default via {_NEXT_HOP}",
            within=member.namespace,
        )  # fmt: skip
        return member

    def leave(self, member: Member) -> None:
        remove(member.namespace)

    def load(self, rules: str) -> None:
        """Put rules, as `iptables-restore` reads them, in the place of all that were."""
        inside(
            self.name,
            lambda: subprocess.run(["iptables-restore"], input=rules, text=True, check=True, env=_PATH),
        )

    def close(self) -> None:
        """Every namespace goes, and with it what is in it."""
        for place in sorted(PLACES.glob(f"{self.name}*")):
            if place.name.partition("-")[0] == self.name:
                remove(place.name)


def remove(namespace: str) -> None:
    """It goes, and with it what is in it."""
    _ip(f"netns del {namespace}")


def inside(namespace: str, act: Callable[[], T]) -> T:
    """What `act` returns in a namespace. Sockets that it opens stay there."""

    def entered() -> T:
        with (PLACES / namespace).open() as place:
            if _libc.setns(place.fileno(), _NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter the network {namespace}")
        return act()

    with ThreadPoolExecutor(1) as thread:  # it is never anywhere else again
        return thread.submit(entered).result()


def dialling(namespace: str) -> socket.socket:
    """A socket that connects from within."""
    return inside(namespace, socket.socket)


def listening(namespace: str, address: tuple[str, int], kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket that is bound within and, if it is one for streams, listens."""

    def bound() -> socket.socket:
        made = socket.socket(type=kind)
        made.bind(address)
        if kind == socket.SOCK_STREAM:
            made.listen(512)
        return made

    return inside(namespace, bound)


_PATH = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def _ip(*lines: str, within: str = "") -> None:
    words: Sequence[str] = ["ip", *(["-n", within] if within else []), "-batch", "-"]
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run(words, input=text, text=True, check=True, capture_output=True, env=_PATH)


def _without_ipv6() -> None:
    switch = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")
    if switch.exists():
        switch.write_text("1")
