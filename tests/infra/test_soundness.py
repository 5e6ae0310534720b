"""The stack has no fault that only a real deployment would show, and each such fault would be found."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from tests.infra.soundness import faults
from tests.infra.stacks import Template, of_type, properties, template

pytestmark = pytest.mark.infra


@pytest.mark.parametrize(
    ("network", "previews"), list(product(("isolated", "open"), ("domain", "trial", "off")))
)
def test_the_stack_is_sound(network: str, previews: str) -> None:
    assert not faults(template(network=network, previews=previews))


def no_permission_for_the_api(made: Template) -> None:
    _drop(made, "AWS::Lambda::Permission", lambda part: part["Principal"] == "apigateway.amazonaws.com")


def no_permission_for_the_schedule(made: Template) -> None:
    _drop(made, "AWS::Lambda::Permission", lambda part: part["Principal"] == "events.amazonaws.com")


def permission_of_another_api(made: Template) -> None:
    for permission in properties(made, "AWS::Lambda::Permission"):
        permission["SourceArn"] = {"Fn::Sub": "arn:aws:execute-api:eu-west-1:123456789012:other/*"}


def queue_without_eventbridge(made: Template) -> None:
    for policy in properties(made, "AWS::SQS::QueuePolicy"):
        statements = policy["PolicyDocument"]["Statement"]
        policy["PolicyDocument"]["Statement"] = [one for one in statements if one["Effect"] == "Deny"]


def key_attribute_undefined(made: Template) -> None:
    _table(made)["AttributeDefinitions"].pop()


def container_misspelled(made: Template) -> None:
    _service(made)["LoadBalancers"][0]["ContainerName"] = "gatewy"


def port_misspelled(made: Template) -> None:
    _service(made)["LoadBalancers"][0]["ContainerPort"] = 8080


def port_out_of_range(made: Template) -> None:
    for task in properties(made, "AWS::ECS::TaskDefinition"):
        task["ContainerDefinitions"][0]["PortMappings"][0]["ContainerPort"] = 99999


def no_execution_role(made: Template) -> None:
    for task in properties(made, "AWS::ECS::TaskDefinition"):
        del task["ExecutionRoleArn"]


def deployment_too_early(made: Template) -> None:
    for deployment in of_type(made, "AWS::ApiGateway::Deployment").values():
        del deployment["DependsOn"]


def two_queues_of_one_name(made: Template) -> None:
    for queue in properties(made, "AWS::SQS::Queue"):
        queue["QueueName"] = "tasks"


def group_not_let_in(made: Template) -> None:
    _drop(made, "AWS::EC2::SecurityGroupIngress", lambda part: part["FromPort"] == 8001)


@pytest.mark.parametrize(
    "mutate",
    [
        no_permission_for_the_api,
        no_permission_for_the_schedule,
        permission_of_another_api,
        queue_without_eventbridge,
        key_attribute_undefined,
        container_misspelled,
        port_misspelled,
        port_out_of_range,
        no_execution_role,
        deployment_too_early,
        two_queues_of_one_name,
        group_not_let_in,
    ],
)
def test_a_fault_is_found(mutate: Callable[[Template], None]) -> None:
    made = template()
    mutate(made)
    assert faults(made)


def _drop(made: Template, kind: str, which: Callable[[dict[str, Any]], bool]) -> None:
    for name, part in of_type(made, kind).items():
        if which(part["Properties"]):
            del made["Resources"][name]


def _table(made: Template) -> dict[str, Any]:
    [table] = properties(made, "AWS::DynamoDB::GlobalTable")
    return table


def _service(made: Template) -> dict[str, Any]:
    [service] = properties(made, "AWS::ECS::Service")
    return service
