"""What costs are computed from is what the stack runs."""

from typing import Any

import pytest

from infra import costs
from tests.infra.stacks import Template, of_type, properties, template

pytestmark = pytest.mark.infra

SHAPES = [
    (network, previews, size)
    for network, previews, size in (
        ("isolated", "trial", "small"),
        ("isolated", "domain", "standard"),
        ("open", "trial", "standard"),
        ("open", "off", "small"),
    )
]


@pytest.mark.parametrize(("network", "previews", "size"), SHAPES)
def test_what_is_always_on_is_in_the_template(network: str, previews: str, size: str) -> None:
    made = template(network=network, previews=previews, size=size)
    assert _running(made) == costs.running(network, previews, size)


def test_bedrock_needs_one_secret_less() -> None:
    made = template(model="bedrock")
    assert _running(made) == costs.running("isolated", "trial", "small", "bedrock")


def test_a_sandbox_and_the_functions_are_of_the_size_that_is_paid_for() -> None:
    made = template()
    [sandbox] = [task for task in _tasks(made) if task["ContainerDefinitions"][0]["Name"] == "sandbox"]
    assert int(sandbox["Cpu"]) / 1024 == costs.SANDBOX_VCPU
    assert int(sandbox["Memory"]) / 1024 == costs.SANDBOX_GB
    assert "EphemeralStorage" not in sandbox  # 20 GB are free
    functions = _functions(made)
    sizes = {name: functions[name]["MemorySize"] / 1024 for name in costs.FUNCTION_GB}
    assert sizes == costs.FUNCTION_GB


def test_traces_are_paid_for_where_they_are_taken() -> None:
    modes = {name: made.get("TracingConfig", {}).get("Mode") for name, made in _functions(template()).items()}
    assert {name for name in costs.FUNCTION_GB if modes[name] == "Active"} == set(costs.TRACED)


def test_the_sweep_runs_every_minute() -> None:
    schedules = [rule.get("ScheduleExpression") for rule in properties(template(), "AWS::Events::Rule")]
    assert [schedule for schedule in schedules if schedule] == ["rate(1 minute)"]


def _running(made: Template) -> dict[str, float]:
    [service] = properties(made, "AWS::ECS::Service")
    count = service["DesiredCount"]
    [gateway] = [task for task in _tasks(made) if task["ContainerDefinitions"][0]["Name"] == "gateway"]
    public = service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] == "ENABLED"
    balancers = properties(made, "AWS::ElasticLoadBalancingV2::LoadBalancer")
    outside = [len(one["Subnets"]) for one in balancers if one["Scheme"] == "internet-facing"]
    endpoints = properties(made, "AWS::EC2::VPCEndpoint")
    policies = properties(made, "AWS::ApplicationAutoScaling::ScalingPolicy")
    alarms = properties(made, "AWS::CloudWatch::Alarm")
    domains = properties(made, "AWS::Route53Resolver::FirewallDomainList")
    assert not of_type(made, "AWS::EC2::NatGateway") and not of_type(made, "AWS::EC2::EIP")
    return {
        "fargate_vcpu_hour": count * int(gateway["Cpu"]) / 1024,
        "fargate_gb_hour": count * int(gateway["Memory"]) / 1024,
        "public_ipv4_hour": count * public + sum(outside),
        "balancer_hour": len(balancers),
        "endpoint_hour": sum(
            len(one["SubnetIds"]) for one in endpoints if one["VpcEndpointType"] == "Interface"
        ),
        "secret_month": len(of_type(made, "AWS::SecretsManager::Secret")),
        "hosted_zone_month": len(of_type(made, "AWS::ServiceDiscovery::PrivateDnsNamespace")),
        "firewall_domain_month": sum(len(one["Domains"]) for one in domains),
        # An alarm is paid for by the metrics that it looks at; a policy that tracks a target keeps two.
        "alarm_month": sum(_looks_at(alarm) for alarm in alarms) + 2 * len(policies),
        "dashboard_month": len(of_type(made, "AWS::CloudWatch::Dashboard")),
    }


def _looks_at(alarm: dict[str, Any]) -> int:
    return sum("MetricStat" in metric for metric in alarm.get("Metrics", [])) or 1


def _tasks(made: Template) -> list[dict[str, Any]]:
    return properties(made, "AWS::ECS::TaskDefinition")


def _functions(made: Template) -> dict[str, dict[str, Any]]:
    """By the name of their file; those that deployments alone call are left out."""
    found = properties(made, "AWS::Lambda::Function")
    return {one["Handler"].split(".")[1]: one for one in found if one["Handler"].startswith("functions.")}
