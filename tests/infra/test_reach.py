"""What a sandbox can reach and who can reach its door, and that a change of either is noticed."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from tests.infra import reach
from tests.infra.stacks import Template, of_type, properties, template

pytestmark = pytest.mark.infra

PULL = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
)
GATEWAY = {"gateway 8001-8001", "gateway 8002-8002"}
ISOLATED = {
    *GATEWAY,
    *(f"{service}: {action} by this account" for service, action in product(("ecr.api", "ecr.dkr"), PULL)),
    "endpoint 443-443",
    "addresses of AWS 443-443",
    "s3: s3:GetObject of image layers",
    "resolves *.amazonaws.com",
    "resolves *.opensessions.internal",
    "resolves api.anthropic.com",
}
OPEN = {*GATEWAY, "anywhere 443-443", "anywhere 80-80", "resolves every name"}
DOOR = {"gateway 7070-7070"}


@pytest.mark.parametrize("previews", ["domain", "trial", "off"])
@pytest.mark.parametrize("size", ["small", "standard"])
def test_an_isolated_sandbox_reaches_the_gateway_and_its_image(previews: str, size: str) -> None:
    made = template(network="isolated", previews=previews, size=size)
    assert reach.from_sandbox(made) == ISOLATED
    assert reach.to_door(made) == DOOR
    assert not reach.routed(made)


def test_without_a_model_key_no_name_of_the_models_provider_resolves() -> None:
    made = template(model="bedrock")
    assert reach.from_sandbox(made) == ISOLATED - {"resolves api.anthropic.com"}


def test_the_name_of_a_model_server_of_ones_own_resolves_in_its_place() -> None:
    found = reach.from_sandbox(template(model="https://models.example.com/v2"))
    assert found == ISOLATED - {"resolves api.anthropic.com"} | {"resolves models.example.com"}


@pytest.mark.parametrize("previews", ["domain", "trial", "off"])
def test_in_an_open_network_a_sandbox_reaches_the_web_and_its_door_stays_shut(previews: str) -> None:
    made = template(network="open", previews=previews)
    assert reach.from_sandbox(made) == OPEN
    assert reach.to_door(made) == DOOR


@pytest.mark.parametrize("network", ["isolated", "open"])
def test_only_a_load_balancer_with_a_name_lets_the_internet_in(network: str) -> None:
    assert reach.from_anywhere(template(network=network, previews="domain")) == {"balancer 443-443"}
    for previews in ("trial", "off"):
        assert not reach.from_anywhere(template(network=network, previews=previews))


def test_there_is_no_other_way_out_of_the_network() -> None:
    made = template()
    for kind in ("NatGateway", "VPCPeeringConnection", "TransitGatewayAttachment", "VPNGateway", "Instance"):
        assert not of_type(made, f"AWS::EC2::{kind}")
    assert not of_type(made, "AWS::EC2::VPCCidrBlock"), "IPv6 would go round what is written for IPv4"
    assert not [subnet for subnet in properties(made, "AWS::EC2::Subnet") if subnet["MapPublicIpOnLaunch"]]


Mutation = Callable[[Template], None]


def world_out(made: Template) -> None:
    _sandbox_group(made)["SecurityGroupEgress"].append(_anywhere())


def no_rule_inside(made: Template) -> None:
    del _sandbox_group(made)["SecurityGroupEgress"]


def resolver_open(made: Template) -> None:
    [group] = properties(made, "AWS::Route53Resolver::FirewallRuleGroup")
    group["FirewallRules"][-1]["Action"] = "ALLOW"


def resolver_unwatched(made: Template) -> None:
    [name] = of_type(made, "AWS::Route53Resolver::FirewallRuleGroupAssociation")
    del made["Resources"][name]


def task_role(made: Template) -> None:
    for task in properties(made, "AWS::ECS::TaskDefinition"):
        task.setdefault("TaskRoleArn", task["ExecutionRoleArn"])


def endpoint_without_policy(made: Template) -> None:
    for endpoint in properties(made, "AWS::EC2::VPCEndpoint"):
        if endpoint["VpcEndpointType"] == "Gateway":
            del endpoint["PolicyDocument"]


def endpoint_for_everybodys_keys(made: Template) -> None:
    for endpoint in properties(made, "AWS::EC2::VPCEndpoint"):
        for statement in endpoint["PolicyDocument"]["Statement"]:
            statement.pop("Condition", None)


def other_bucket(made: Template) -> None:
    for endpoint in properties(made, "AWS::EC2::VPCEndpoint"):
        for statement in endpoint["PolicyDocument"]["Statement"]:
            statement["Resource"] = "*"


@pytest.mark.parametrize(
    "mutate",
    [
        world_out,
        no_rule_inside,
        resolver_open,
        resolver_unwatched,
        task_role,
        endpoint_without_policy,
        endpoint_for_everybodys_keys,
        other_bucket,
    ],
)
def test_a_new_way_out_is_noticed(mutate: Mutation) -> None:
    made = template()
    mutate(made)
    assert reach.from_sandbox(made) - ISOLATED


def test_a_new_way_in_is_noticed() -> None:
    made = template()
    _sandbox_group(made).setdefault("SecurityGroupIngress", []).append(_anywhere())
    assert reach.to_door(made) == {*DOOR, "anywhere every port"}


def test_a_route_is_noticed() -> None:
    made = template()
    route = next(iter(properties(made, "AWS::EC2::Route")))
    for association in properties(made, "AWS::EC2::SubnetRouteTableAssociation"):
        association["RouteTableId"] = route["RouteTableId"]
    assert reach.routed(made)


def _sandbox_group(made: Template) -> dict[str, Any]:
    [group] = [g for g in properties(made, "AWS::EC2::SecurityGroup") if g["GroupDescription"] == "Sandboxes"]
    return group


def _anywhere() -> dict[str, str]:
    return {"CidrIp": "0.0.0.0/0", "IpProtocol": "-1", "Description": "for debugging"}
