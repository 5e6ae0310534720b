"""What breaks a deployment and neither cfn-lint nor an emulator notices."""

import json
from collections.abc import Iterator
from typing import Any

from tests.infra.stacks import Template, of_type, properties

_NAMED = {
    "AWS::DynamoDB::GlobalTable": "TableName",
    "AWS::ECS::TaskDefinition": "Family",
    "AWS::IAM::Role": "RoleName",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SQS::Queue": "QueueName",
}


def faults(template: Template) -> list[str]:
    """A sentence for each; none for a sound template."""
    checks = (_permissions, _queues, _keys, _containers, _roles, _deployments, _names, _groups)
    return [fault for check in checks for fault in check(template)]


def _permissions(template: Template) -> Iterator[str]:
    """Whoever calls a function must be let in, with the one API or rule that calls it."""
    allowed = [
        (
            _references(permission["FunctionName"]),
            permission["Principal"],
            _references(permission["SourceArn"]),
        )
        for permission in properties(template, "AWS::Lambda::Permission")
        if "SourceArn" in permission
    ]
    for name, method in of_type(template, "AWS::ApiGateway::Method").items():
        integration = method["Properties"].get("Integration", {})
        if integration.get("Type") == "AWS_PROXY":
            [function] = _references(integration["Uri"]) & set(of_type(template, "AWS::Lambda::Function"))
            api = method["Properties"]["RestApiId"]["Ref"]
            if not _allows(allowed, function, "apigateway.amazonaws.com", api):
                yield f"{name}: API Gateway may not call {function}."
    for name, rule in of_type(template, "AWS::Events::Rule").items():
        for target in rule["Properties"]["Targets"]:
            for function in _references(target["Arn"]) & set(of_type(template, "AWS::Lambda::Function")):
                if not _allows(allowed, function, "events.amazonaws.com", name):
                    yield f"{name}: EventBridge may not call {function}."


def _allows(allowed: list[tuple[set[str], str, set[str]]], function: str, who: str, source: str) -> bool:
    return any(
        function in functions and who == principal and source in sources
        for functions, principal, sources in allowed
    )


def _queues(template: Template) -> Iterator[str]:
    """A rule sends to a queue, and drops its failures into one, only where the queue's policy lets it."""
    queues = set(of_type(template, "AWS::SQS::Queue"))
    allowed = {
        (queue, rule)
        for policy in properties(template, "AWS::SQS::QueuePolicy")
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Allow" and "sqs:SendMessage" in statement["Action"]
        if statement["Principal"] == {"Service": "events.amazonaws.com"}
        for queue in queues & _references(policy["Queues"])
        for rule in _references(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
    }
    for name, rule in of_type(template, "AWS::Events::Rule").items():
        for queue in queues & _references(rule["Properties"]["Targets"]):
            if (queue, name) not in allowed:
                yield f"{name}: EventBridge may not send to {queue}."


def _keys(template: Template) -> Iterator[str]:
    """Each attribute of a key is defined, and each that is defined is of a key."""
    for name, table in of_type(template, "AWS::DynamoDB::GlobalTable").items():
        made = table["Properties"]
        defined = {attribute["AttributeName"] for attribute in made["AttributeDefinitions"]}
        schemas = [made["KeySchema"], *(index["KeySchema"] for index in made["GlobalSecondaryIndexes"])]
        used = {key["AttributeName"] for schema in schemas for key in schema}
        for attribute in sorted(defined ^ used):
            yield f"{name}: {attribute} is defined or in a key, but not both."


def _containers(template: Template) -> Iterator[str]:
    """A service's load balancer leads to a container and port of its task definition."""
    definitions = of_type(template, "AWS::ECS::TaskDefinition")
    for name, service in of_type(template, "AWS::ECS::Service").items():
        task = definitions[service["Properties"]["TaskDefinition"]["Ref"]]["Properties"]
        ports = {
            (container["Name"], mapping["ContainerPort"])
            for container in task["ContainerDefinitions"]
            for mapping in container["PortMappings"]
        }
        for target in service["Properties"]["LoadBalancers"]:
            if (target["ContainerName"], target["ContainerPort"]) not in ports:
                yield f"{name}: there is no {target['ContainerName']}:{target['ContainerPort']} in its tasks."
    for name, definition in definitions.items():
        for container in definition["Properties"]["ContainerDefinitions"]:
            for mapping in container["PortMappings"]:
                if not 0 < mapping["ContainerPort"] < 65536:
                    yield f"{name}: {mapping['ContainerPort']} is no port."


def _roles(template: Template) -> Iterator[str]:
    """Fargate pulls images and writes logs as the execution role."""
    for name, definition in of_type(template, "AWS::ECS::TaskDefinition").items():
        if "ExecutionRoleArn" not in definition["Properties"]:
            yield f"{name}: without an execution role its image cannot be pulled."


def _deployments(template: Template) -> Iterator[str]:
    """A deployment is a copy of the methods that are there when it is made."""
    methods = set(of_type(template, "AWS::ApiGateway::Method"))
    for name, deployment in of_type(template, "AWS::ApiGateway::Deployment").items():
        for method in sorted(methods - set(deployment.get("DependsOn", []))):
            yield f"{name}: it does not wait for {method}."


def _names(template: Template) -> Iterator[str]:
    """Two resources of a type with one name replace each other."""
    seen: set[str] = set()
    for made in template["Resources"].values():
        key = _NAMED.get(made["Type"])
        if key and key in made["Properties"]:
            named = json.dumps([made["Type"], made["Properties"][key]])
            if named in seen:
                yield f"Two are called {named}."
            seen.add(named)


def _groups(template: Template) -> Iterator[str]:
    """What one group lets out to another, the other lets in."""
    ways = {
        way: {
            (_one(rule[ends[0]]), _one(rule[ends[1]]), rule["FromPort"], rule["ToPort"])
            for rule in properties(template, f"AWS::EC2::SecurityGroup{way}")
            if all(end in rule for end in ends)
        }
        for way, ends in {
            "Egress": ("GroupId", "DestinationSecurityGroupId"),
            "Ingress": ("SourceSecurityGroupId", "GroupId"),
        }.items()
    }
    for source, destination, first, last in sorted(ways["Egress"] - ways["Ingress"]):
        yield f"{destination} does not let {source} in at {first}-{last}."


def _one(reference: Any) -> str:
    [name] = _references(reference)
    return name


def _references(value: Any) -> set[str]:
    """Logical ids that a value refers to."""
    if isinstance(value, dict):
        if set(value) == {"Ref"}:
            return {value["Ref"]}
        if set(value) == {"Fn::GetAtt"}:
            return {value["Fn::GetAtt"][0]}
        return {name for part in value.values() for name in _references(part)}
    if isinstance(value, list):
        return {name for part in value for name in _references(part)}
    return set()
