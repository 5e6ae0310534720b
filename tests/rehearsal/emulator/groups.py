"""Security groups as packet rules, for `iptables-restore` in a router between those that have them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Permission = Mapping[str, Any]
Groups = Mapping[str, Mapping[str, Any]]
"""By id, as EC2 describes them."""

_HEAD = """*filter
:INPUT DROP
:FORWARD DROP
:OUTPUT DROP
-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A FORWARD -d {resolver} -p udp --dport 53 -j ACCEPT
"""


@dataclass(frozen=True)
class Interface:
    """`link` is the router's. `routed`: its subnet and address let it beyond the network."""

    link: str
    address: str
    groups: tuple[str, ...]
    routed: bool = False


def rules(interfaces: Sequence[Interface], groups: Groups, outside: str, resolver: str) -> str:
    """A connection is let through when a rule of a group of whoever opens it and one of whoever takes it do;
    one to the link `outside` when the subnet has a route, too. The `resolver` is for all, as on AWS.
    """
    lines = [_HEAD.format(resolver=resolver)]
    for each in interfaces:
        lines += _out(each, groups, interfaces)
    lines += [f"-A FORWARD -i {each.link} -o {outside} -j DROP\n" for each in interfaces if not each.routed]
    for each in interfaces:
        lines += _in(each, groups, interfaces)
    return "".join([*lines, f"-A FORWARD -o {outside} -j ACCEPT\n", "COMMIT\n"])


def _out(each: Interface, groups: Groups, all_: Sequence[Interface]) -> Iterator[str]:
    chain = f"out-{each.link}"
    yield f":{chain} -\n-A FORWARD -i {each.link} -j {chain}\n"
    yield f"-A {chain} ! -s {each.address} -j DROP\n"
    for permission in _permissions(each, groups, "IpPermissionsEgress"):
        for peer in _peers(permission, all_):
            yield f"-A {chain} -d {peer}{_ports(permission)} -j RETURN\n"
    yield f"-A {chain} -j DROP\n"


def _in(each: Interface, groups: Groups, all_: Sequence[Interface]) -> Iterator[str]:
    chain = f"in-{each.link}"
    yield f":{chain} -\n-A FORWARD -o {each.link} -j {chain}\n"
    for permission in _permissions(each, groups, "IpPermissions"):
        for peer in _peers(permission, all_):
            yield f"-A {chain} -s {peer}{_ports(permission)} -j ACCEPT\n"
    yield f"-A {chain} -j DROP\n"


def _permissions(each: Interface, groups: Groups, side: str) -> Iterator[Permission]:
    for group in each.groups:
        for permission in groups[group][side]:
            if permission["IpProtocol"] in ("tcp", "udp", "-1"):
                yield permission


def _peers(permission: Permission, all_: Iterable[Interface]) -> Iterator[str]:
    """Lists of AWS's own addresses name nobody here."""
    yield from (each["CidrIp"] for each in permission.get("IpRanges", ()))
    named = {each.get("GroupId") for each in permission.get("UserIdGroupPairs", ())}
    yield from (each.address for each in all_ if named & set(each.groups))


def _ports(permission: Permission) -> str:
    if permission["IpProtocol"] == "-1":
        return ""
    return f" -p {permission['IpProtocol']} --dport {permission['FromPort']}:{permission['ToPort']}"
