"""Mistakes that somebody could make in `infra/`, as changes of the synthesised template."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.rehearsal.assembly import Template, only

LINT, ASSERTIONS, REHEARSAL = "lint", "assertions", "rehearsal"
Change = Callable[[Template], None]


@dataclass(frozen=True)
class Mutation:
    """`by` are the tools that find it."""

    name: str
    by: frozenset[str]
    change: Change = field(compare=False)


MUTATIONS: list[Mutation] = []


def mutation(*by: str) -> Callable[[Change], Change]:
    def listed(change: Change) -> Change:
        MUTATIONS.append(Mutation(change.__name__.strip("_").replace("_", " "), frozenset(by), change))
        return change

    return listed


# Rights


def _drop(body: Template, role: str, action: str) -> None:
    for name, resource in body["Resources"].items():
        if resource["Type"] != "AWS::IAM::Policy" or role not in name.lower():
            continue
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
            actions = statement["Action"]
            kept = [each for each in ([actions] if isinstance(actions, str) else actions) if each != action]
            statement["Action"] = kept or ["sts:GetCallerIdentity"]


@mutation(REHEARSAL, ASSERTIONS)
def api_may_not_put_items(body: Template) -> None:
    _drop(body, "functionsapi", "dynamodb:PutItem")


@mutation(REHEARSAL, ASSERTIONS)
def api_may_not_pass_the_role(body: Template) -> None:
    _drop(body, "functionsapi", "iam:PassRole")


@mutation(REHEARSAL, ASSERTIONS)
def api_may_not_run_tasks(body: Template) -> None:
    _drop(body, "functionsapi", "ecs:RunTask")


@mutation(REHEARSAL, ASSERTIONS)
def api_may_not_stop_tasks(body: Template) -> None:
    _drop(body, "functionsapi", "ecs:StopTask")


@mutation(REHEARSAL, ASSERTIONS)
def api_may_not_put_launches_off(body: Template) -> None:
    _drop(body, "functionsapi", "sqs:SendMessage")


@mutation(REHEARSAL, ASSERTIONS)
def task_state_may_not_write(body: Template) -> None:
    _drop(body, "functionstaskstate", "dynamodb:PutItem")


@mutation(REHEARSAL, ASSERTIONS)
def gateway_may_not_read_the_master_key(body: Template) -> None:
    _drop(body, "gatewaytasktaskrole", "secretsmanager:GetSecretValue")


@mutation(REHEARSAL, ASSERTIONS)
def gateway_may_not_call_the_callback(body: Template) -> None:
    _drop(body, "gatewaytasktaskrole", "lambda:InvokeFunction")


@mutation(LINT, ASSERTIONS, REHEARSAL)
def an_action_that_iam_does_not_know(body: Template) -> None:
    text = json.dumps(body).replace('"ecs:RunTask"', '"ecs:RunTasks"')
    body.update(json.loads(text))


# Functions


def _function(body: Template, name: str) -> dict[str, Any]:
    properties: dict[str, Any] = only(body, "AWS::Lambda::Function", Handler=f"functions.{name}.handler")[
        "Properties"
    ]
    return properties


@mutation(REHEARSAL)
def callback_lacks_a_variable(body: Template) -> None:
    del _function(body, "callback")["Environment"]["Variables"]["TABLE_NAME"]


@mutation(REHEARSAL)
def api_lacks_its_subnets(body: Template) -> None:
    del _function(body, "api")["Environment"]["Variables"]["SANDBOX_SUBNETS"]


@mutation(REHEARSAL)
def a_handler_that_is_not_there(body: Template) -> None:
    _function(body, "task_state")["Handler"] = "functions.task_state.handle"


@mutation(LINT)
def a_reserved_variable(body: Template) -> None:
    _function(body, "api")["Environment"]["Variables"]["AWS_REGION"] = "us-east-1"


@mutation(LINT)
def a_timeout_over_the_limit(body: Template) -> None:
    _function(body, "sweep")["Timeout"] = 901


@mutation(LINT)
def a_runtime_that_is_gone(body: Template) -> None:
    _function(body, "api")["Runtime"] = "python3.7"


# Events and queues


@mutation(REHEARSAL)
def a_pattern_that_matches_nothing(body: Template) -> None:
    for resource in body["Resources"].values():
        if resource["Type"] == "AWS::Events::Rule" and "EventPattern" in resource["Properties"]:
            resource["Properties"]["EventPattern"]["detail"]["lastStatus"] = ["STOPED"]


@mutation(REHEARSAL)
def the_queue_feeds_nobody(body: Template) -> None:
    only(body, "AWS::Lambda::EventSourceMapping")["Properties"]["Enabled"] = False


@mutation(LINT)
def visible_again_before_the_function_is_done(body: Template) -> None:
    for resource in body["Resources"].values():
        if resource["Type"] == "AWS::SQS::Queue" and "VisibilityTimeout" in resource["Properties"]:
            resource["Properties"]["VisibilityTimeout"] = 5


@mutation(ASSERTIONS)
def two_queues_of_one_name(body: Template) -> None:
    for resource in body["Resources"].values():
        if resource["Type"] == "AWS::SQS::Queue":
            resource["Properties"]["QueueName"] = "tasks"


@mutation(ASSERTIONS)
def eventbridge_may_not_send(body: Template) -> None:
    for resource in body["Resources"].values():
        if resource["Type"] == "AWS::SQS::QueuePolicy":
            statements = resource["Properties"]["PolicyDocument"]["Statement"]
            kept = [each for each in statements if each["Effect"] == "Deny"]
            resource["Properties"]["PolicyDocument"]["Statement"] = kept


@mutation(ASSERTIONS)
def api_gateway_may_not_call_the_function(body: Template) -> None:
    for name in [name for name, each in body["Resources"].items() if _lets_in(each, "apigateway")]:
        del body["Resources"][name]


def _lets_in(resource: dict[str, Any], who: str) -> bool:
    permission = resource["Type"] == "AWS::Lambda::Permission"
    return permission and bool(resource["Properties"]["Principal"] == f"{who}.amazonaws.com")


# The API


@mutation(ASSERTIONS)
def deployed_before_its_methods(body: Template) -> None:
    del only(body, "AWS::ApiGateway::Deployment")["DependsOn"]


@mutation(REHEARSAL)
def streams_are_not_streamed(body: Template) -> None:
    for resource in body["Resources"].values():
        if resource["Type"] == "AWS::ApiGateway::Method":
            resource["Properties"]["Integration"].pop("ResponseTransferMode", None)


# The table


@mutation(ASSERTIONS)
def a_key_that_is_not_defined(body: Template) -> None:
    only(body, "AWS::DynamoDB::GlobalTable")["Properties"]["AttributeDefinitions"].pop()


@mutation(REHEARSAL, ASSERTIONS)
def an_index_is_missing(body: Template) -> None:
    only(body, "AWS::DynamoDB::GlobalTable")["Properties"]["GlobalSecondaryIndexes"].pop()


# Tasks


def _task(body: Template, name: str) -> dict[str, Any]:
    """The properties of the task definition whose one container has this name."""
    [found] = [
        resource["Properties"]
        for resource in body["Resources"].values()
        if resource["Type"] == "AWS::ECS::TaskDefinition"
        and resource["Properties"]["ContainerDefinitions"][0]["Name"] == name
    ]
    properties: dict[str, Any] = found
    return properties


def _container(body: Template, name: str) -> dict[str, Any]:
    container: dict[str, Any] = _task(body, name)["ContainerDefinitions"][0]
    return container


@mutation(REHEARSAL)
def a_container_of_another_name(body: Template) -> None:
    _container(body, "sandbox")["Name"] = "worker"


@mutation(REHEARSAL)
def sandboxes_look_for_the_gateway_at_another_port(body: Template) -> None:
    _variable(_container(body, "sandbox"), "GATEWAY_URL")["Value"] = (
        "http://gateway.opensessions.internal:8003"
    )


@mutation(REHEARSAL)
def the_gateway_knocks_at_another_door(body: Template) -> None:
    _variable(_container(body, "gateway"), "DOOR_PORT")["Value"] = "7071"


def _variable(container: dict[str, Any], name: str) -> dict[str, Any]:
    variable: dict[str, Any] = next(each for each in container["Environment"] if each["Name"] == name)
    return variable


@mutation(LINT)
def processors_and_memory_that_do_not_go_together(body: Template) -> None:
    _task(body, "sandbox")["Memory"] = "16384"


@mutation(ASSERTIONS)
def no_execution_role(body: Template) -> None:
    del _task(body, "gateway")["ExecutionRoleArn"]


@mutation(REHEARSAL, ASSERTIONS)
def a_role_for_sandboxes(body: Template) -> None:
    role = _task(body, "gateway")["TaskRoleArn"]
    _task(body, "sandbox")["TaskRoleArn"] = role


@mutation(ASSERTIONS)
def the_balancer_looks_for_another_container(body: Template) -> None:
    only(body, "AWS::ECS::Service")["Properties"]["LoadBalancers"][0]["ContainerName"] = "gatewy"


@mutation(ASSERTIONS)
def a_port_that_is_none(body: Template) -> None:
    _container(body, "gateway")["PortMappings"][0]["ContainerPort"] = 99999


# CloudFormation itself


@mutation(LINT, REHEARSAL)
def an_attribute_that_is_not_there(body: Template) -> None:
    name = next(name for name, each in body["Resources"].items() if each["Type"] == "AWS::ECS::Cluster")
    _function(body, "api")["Environment"]["Variables"]["CLUSTER"] = {"Fn::GetAtt": [name, "Nothing"]}


@mutation(LINT)
def a_property_that_is_not_there(body: Template) -> None:
    only(body, "AWS::ECS::Cluster")["Properties"]["Name"] = "cluster"


@mutation(LINT, REHEARSAL)
def a_reference_to_nothing(body: Template) -> None:
    body["Outputs"]["ClusterName"]["Value"] = {"Ref": "Clustr"}


@mutation(LINT, REHEARSAL)
def two_that_wait_for_each_other(body: Template) -> None:
    queues = [name for name, each in body["Resources"].items() if each["Type"] == "AWS::SQS::Queue"]
    for one, other in (queues, queues[::-1]):
        body["Resources"][one]["DependsOn"] = [other]
