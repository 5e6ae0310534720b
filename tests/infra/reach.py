"""What a sandbox can reach and who can reach its door, computed from a template alone."""

import json
from collections.abc import Iterator
from typing import Any

from tests.infra.stacks import Resource, Template, of_type

Rule = tuple[str, str, str]
"""Logical id of the group, whom the rule is about, ports."""
ANYWHERE = "anywhere"


def from_sandbox(template: Template) -> set[str]:
    """`<what> <ports>` for each way out of a sandbox, and what it can do there; `role` if it has one."""
    groups = _groups(template)
    [sandbox] = [group for group, name in groups.items() if name == "sandbox"]
    ways = {
        f"{groups.get(peer, peer)} {ports}"
        for group, peer, ports in _rules(template, "Egress")
        if group == sandbox and (peer not in groups or _admits(template, peer, sandbox, ports))
    }
    return ways | set(_endpoints(template)) | set(_role(template)) | set(_names(template))


def to_door(template: Template) -> set[str]:
    """`<who> <ports>` for each way into a sandbox."""
    groups = _groups(template)
    return {
        f"{groups.get(peer, peer)} {ports}"
        for group, peer, ports in _rules(template, "Ingress")
        if groups[group] == "sandbox"
    }


def from_anywhere(template: Template) -> set[str]:
    """`<group> <ports>` for each group that lets the internet in."""
    groups = _groups(template)
    return {
        f"{groups[group]} {ports}" for group, peer, ports in _rules(template, "Ingress") if peer == ANYWHERE
    }


def routed(template: Template) -> bool:
    """Whether the sandboxes' subnets have a route to an internet gateway."""
    [subnets] = {json.dumps(variables["SANDBOX_SUBNETS"]) for variables in _environments(template)}
    tables = {
        made["Properties"]["RouteTableId"]["Ref"]
        for made in of_type(template, "AWS::EC2::SubnetRouteTableAssociation").values()
        if f'"{made["Properties"]["SubnetId"]["Ref"]}"' in subnets
    }
    routes = of_type(template, "AWS::EC2::Route").values()
    return any(route["Properties"]["RouteTableId"]["Ref"] in tables for route in routes)


def _groups(template: Template) -> dict[str, str]:
    """Each security group by what it is on."""
    found = {name: name for name in of_type(template, "AWS::EC2::SecurityGroup")}
    users = {
        "balancer": ("AWS::ElasticLoadBalancingV2::LoadBalancer", "SecurityGroups"),
        "endpoint": ("AWS::EC2::VPCEndpoint", "SecurityGroupIds"),
        "gateway": ("AWS::ECS::Service", "NetworkConfiguration"),
        "link": ("AWS::ApiGatewayV2::VpcLink", "SecurityGroupIds"),
    }
    for name, (kind, key) in users.items():
        for made in of_type(template, kind).values():
            found |= dict.fromkeys(_mentioned(made["Properties"].get(key), found), name)
    for variables in _environments(template):
        found |= dict.fromkeys(_mentioned(variables["SANDBOX_SECURITY_GROUP"], found), "sandbox")
    return found


def _environments(template: Template) -> Iterator[dict[str, Any]]:
    for made in of_type(template, "AWS::Lambda::Function").values():
        variables = made["Properties"].get("Environment", {}).get("Variables", {})
        if "SANDBOX_SECURITY_GROUP" in variables:
            yield variables


def _mentioned(value: Any, groups: dict[str, str]) -> list[str]:
    return [name for name in groups if f'"{name}"' in json.dumps(value)]


def _rules(template: Template, way: str) -> Iterator[Rule]:
    groups = of_type(template, "AWS::EC2::SecurityGroup")
    for name, made in groups.items():
        inline = made["Properties"].get(f"SecurityGroup{way}")
        if way == "Egress" and not inline:
            yield name, ANYWHERE, "every port"  # EC2's own rule, which goes only when others are inline
        for rule in inline or []:
            yield from _rule(name, rule, groups)
    for made in of_type(template, f"AWS::EC2::SecurityGroup{way}").values():
        [name] = _mentioned(made["Properties"]["GroupId"], dict.fromkeys(groups, ""))
        yield from _rule(name, made["Properties"], groups)


def _rule(group: str, rule: dict[str, Any], groups: dict[str, Resource]) -> Iterator[Rule]:
    if rule.get("CidrIp") in ("255.255.255.255/32", "127.0.0.1/32"):  # ways to say nobody
        return
    peers = ("SourceSecurityGroupId", "DestinationSecurityGroupId")
    named = [name for peer in peers for name in _mentioned(rule.get(peer), dict.fromkeys(groups, ""))]
    lists = [f"list {rule[key]}" for key in ("SourcePrefixListId", "DestinationPrefixListId") if key in rule]
    blocks = [_block(rule[key]) for key in ("CidrIp", "CidrIpv6") if key in rule]
    ports = "every port" if str(rule["IpProtocol"]) == "-1" else f"{rule['FromPort']}-{rule['ToPort']}"
    [peer] = named or [one if "list" not in one else "addresses of AWS" for one in lists] or blocks
    yield group, peer, ports


def _block(cidr: Any) -> str:
    return ANYWHERE if cidr in ("0.0.0.0/0", "::/0") else f"block {json.dumps(cidr)}"


def _admits(template: Template, group: str, source: str, ports: str) -> bool:
    return any(
        admitting == group and peer in (source, ANYWHERE) and admitted in (ports, "every port")
        for admitting, peer, admitted in _rules(template, "Ingress")
    )


def _endpoints(template: Template) -> Iterator[str]:
    for made in of_type(template, "AWS::EC2::VPCEndpoint").values():
        service = json.dumps(made["Properties"]["ServiceName"]).rstrip('"}] ').rsplit(".amazonaws.", 1)[-1]
        service = service.split(".", 1)[-1] if "." in service else service
        document = made["Properties"].get("PolicyDocument")
        if not document:
            yield f"{service}: everything, with anybody's keys"
            continue
        for statement in document["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                yield f"{service}: {action}{_bound(statement)}"


def _bound(statement: dict[str, Any]) -> str:
    if "aws:PrincipalAccount" in statement.get("Condition", {}).get("StringEquals", {}):
        return " by this account"
    if "-starport-layer-bucket/*" in json.dumps(statement["Resource"]):
        return " of image layers"
    return " by anybody"


def _role(template: Template) -> Iterator[str]:
    for made in of_type(template, "AWS::ECS::TaskDefinition").values():
        names = {container["Name"] for container in made["Properties"]["ContainerDefinitions"]}
        if "sandbox" in names and "TaskRoleArn" in made["Properties"]:
            yield "role"


def _names(template: Template) -> Iterator[str]:
    """Names that the resolver of the VPC answers for."""
    if not of_type(template, "AWS::Route53Resolver::FirewallRuleGroupAssociation"):
        yield "resolves every name"
        return
    lists = of_type(template, "AWS::Route53Resolver::FirewallDomainList")
    [group] = of_type(template, "AWS::Route53Resolver::FirewallRuleGroup").values()
    rules = sorted(group["Properties"]["FirewallRules"], key=lambda rule: int(rule["Priority"]))
    for rule in rules:
        [name] = _mentioned(rule["FirewallDomainListId"], dict.fromkeys(lists, ""))
        for domain in lists[name]["Properties"]["Domains"]:
            if rule["Action"] != "BLOCK":
                yield f"resolves {domain.removesuffix('.')}"
            elif domain in ("*", "*."):
                return
    yield "resolves every name"
