"""What our template needs of CloudFormation and ministack does not make, or makes otherwise than AWS.

Resources without an effect on this machine (auto scaling, a DNS firewall, a VPC link) are only recorded; what
something else looks at afterwards (rules of security groups, task definitions, secrets) is really made.
"""

import json
import secrets
import string
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from tests.rehearsal.emulator.symbols import get, wrap

Properties = dict[str, Any]
Made = tuple[str, dict[str, Any]]

INERT: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "AWS::ApiGatewayV2::VpcLink": ("vpclink", ("VpcLinkId",)),
    "AWS::ApplicationAutoScaling::ScalableTarget": ("scalable", ()),
    "AWS::ApplicationAutoScaling::ScalingPolicy": ("policy", ("Arn",)),
    "AWS::Budgets::Budget": ("budget", ()),
    "AWS::CE::AnomalyMonitor": ("monitor", ("MonitorArn",)),
    "AWS::CE::AnomalySubscription": ("subscription", ("SubscriptionArn",)),
    "AWS::CloudFront::VpcOrigin": ("vo", ("Arn", "Id")),
    "AWS::CloudWatch::CompositeAlarm": ("composite", ("Arn",)),
    "AWS::EC2::EIP": ("eipalloc", ("AllocationId", "PublicIp")),
    "AWS::EC2::FlowLog": ("fl", ("Id",)),
    "AWS::EC2::NetworkAcl": ("acl", ("Id",)),
    "AWS::EC2::NetworkAclEntry": ("aclentry", ()),
    "AWS::EC2::SubnetNetworkAclAssociation": ("aclassoc", ("AssociationId",)),
    "AWS::ECR::PullThroughCacheRule": ("ptc", ()),
    "AWS::ECR::RegistryPolicy": ("registry", ("RegistryId",)),
    "AWS::Route53Resolver::FirewallConfig": ("fwconfig", ("Id", "OwnerId")),
    "AWS::Route53Resolver::FirewallDomainList": ("rslvr-fdl", ("Id", "Arn")),
    "AWS::Route53Resolver::FirewallRuleGroup": ("rslvr-frg", ("Id", "Arn")),
    "AWS::Route53Resolver::FirewallRuleGroupAssociation": ("rslvr-frgassoc", ("Id", "Arn")),
    "AWS::Route53Resolver::ResolverQueryLoggingConfig": ("rslvr-qlc", ("Id", "Arn")),
    "AWS::Route53Resolver::ResolverQueryLoggingConfigAssociation": ("rslvr-qlcassoc", ("Id",)),
}
"""Prefix of the physical id, and the attributes, each of which is that id."""

_VERBATIM = ("Options", "DockerLabels", "DriverOpts", "Labels")


def install() -> None:
    handlers = get("services.cloudformation.provisioners._RESOURCE_HANDLERS")
    for kind, (prefix, attributes) in INERT.items():
        handlers.setdefault(kind, _inert(prefix, attributes))
    for kind, rules in (("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")):
        handlers[f"AWS::EC2::SecurityGroup{kind}"] = _security_group_rule(rules)
    handlers["Custom::AWS"] = _sdk_call()
    _add_attributes(handlers["AWS::EC2::VPC"], lambda properties: {"CidrBlock": properties["CidrBlock"]})
    _refer_by_arn(handlers["AWS::SecretsManager::Secret"])
    wrap("services.cloudformation.provisioners._sm_secret_string")(_generated)
    register = wrap("services.cloudformation.provisioners._ecs_task_def_create")(_registered)
    handlers["AWS::ECS::TaskDefinition"]["create"] = register
    wrap("services.cloudformation.provisioners._cw_metric_alarm_record")(_of_several_metrics)
    wrap("services.ecr._describe_images")(_unknown_image)


def _inert(prefix: str, attributes: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    def create(logical_id: str, properties: Properties, stack: str) -> Made:
        return _named(f"{prefix}-{uuid.uuid4().hex[:17]}")

    def update(physical_id: str, old: Properties, new: Properties, stack: str) -> Made:
        return _named(physical_id)

    def _named(physical_id: str) -> Made:
        return physical_id, dict.fromkeys(attributes, physical_id)

    return {"create": create, "update": update, "delete": lambda physical_id, properties: None}


def _security_group_rule(store: str) -> dict[str, Callable[..., Any]]:
    groups = get("services.ec2._security_groups")
    permissions = get("services.cloudformation.provisioners._ec2_sg_permissions")

    def create(logical_id: str, properties: Properties, stack: str) -> Made:
        if properties["GroupId"] not in groups:
            raise ValueError(f"The security group {properties['GroupId']} does not exist.")
        physical_id = f"sgr-{uuid.uuid4().hex[:17]}"
        [rule] = permissions([properties])
        groups[properties["GroupId"]][store].append({**rule, "SecurityGroupRuleId": physical_id})
        return physical_id, {"Id": physical_id}

    def delete(physical_id: str, properties: Properties) -> None:
        group = groups.get(properties["GroupId"])
        if group:
            kept = [rule for rule in group[store] if rule.get("SecurityGroupRuleId") != physical_id]
            group[store] = kept

    def update(physical_id: str, old: Properties, new: Properties, stack: str) -> Made:
        delete(physical_id, old)
        return create("", new, stack)

    return {"create": create, "update": update, "delete": delete}


def _sdk_call() -> dict[str, Callable[..., Any]]:
    """The CDK's `AwsCustomResource`: its function is JavaScript and wants AWS's SDK, and all that it is
    here for is the id of a list of AWS's addresses.
    """

    def create(logical_id: str, properties: Properties, stack: str) -> Made:
        call = json.loads(properties.get("Create") or properties["Update"])
        if call["action"] != "DescribeManagedPrefixLists":
            raise ValueError(f"{logical_id} calls {call['action']}, which the rehearsal does not know.")
        [name] = call["parameters"]["Filters"][0]["Values"]
        found = f"pl-{uuid.uuid5(uuid.NAMESPACE_DNS, name).hex[:8]}"
        return call["physicalResourceId"]["id"], {"PrefixLists.0.PrefixListId": found}

    def update(physical_id: str, old: Properties, new: Properties, stack: str) -> Made:
        return create(physical_id, new, stack)

    return {"create": create, "update": update, "delete": lambda physical_id, properties: None}


def _add_attributes(handler: dict[str, Any], more: Callable[[Properties], Properties]) -> None:
    create, update = handler["create"], handler["update"]

    def created(logical_id: str, properties: Properties, stack: str) -> Made:
        physical_id, attributes = create(logical_id, properties, stack)
        return physical_id, {**attributes, **more(properties)}

    def updated(physical_id: str, old: Properties, new: Properties, *rest: Any) -> Made:
        physical_id, attributes = update(physical_id, old, new, *rest)
        return physical_id, {**attributes, **more(new)}

    handler.update(create=created, update=updated)


def _refer_by_arn(handler: dict[str, Any]) -> None:
    """`Ref` of a secret is its ARN, and its name the logical id with a suffix; ministack refers to secrets by
    name and names them otherwise.
    """
    create, update, delete = handler["create"], handler["update"], handler["delete"]

    def named(physical_id: str) -> str:
        return physical_id.rsplit(":", 1)[-1].rsplit("-", 1)[0]

    def created(logical_id: str, properties: Properties, stack: str) -> Made:
        properties = {"Name": f"{logical_id}-{uuid.uuid4().hex[:12]}", **properties}
        _, attributes = create(logical_id, properties, stack)
        return attributes["Arn"], attributes

    def updated(physical_id: str, old: Properties, new: Properties, *rest: Any) -> Made:
        name = {"Name": named(physical_id)}
        _, attributes = update(named(physical_id), name | old, name | new, *rest)
        return attributes["Arn"], attributes

    def deleted(physical_id: str, properties: Properties) -> None:
        delete(named(physical_id), properties)

    handler.update(create=created, update=updated, delete=deleted)


def _generated(original: Callable[[Properties], str]) -> Callable[[Properties], str]:
    """A generated secret is of the characters that the template leaves in; ministack knows one exclusion."""

    def secret_string(properties: Properties) -> str:
        wanted = properties.get("GenerateSecretString")
        if wanted is None or "SecretString" in properties or "SecretStringTemplate" in wanted:
            return original(properties)
        characters = "".join(
            kind for excluded, kind in _KINDS.items() if str(wanted.get(excluded)).lower() != "true"
        )
        left = [each for each in characters if each not in wanted.get("ExcludeCharacters", "")]
        return "".join(secrets.choice(left) for _ in range(int(wanted.get("PasswordLength", 32))))

    return secret_string


_KINDS = {
    "ExcludeLowercase": string.ascii_lowercase,
    "ExcludeUppercase": string.ascii_uppercase,
    "ExcludeNumbers": string.digits,
    "ExcludePunctuation": string.punctuation,
}


def _registered(original: Callable[..., Made]) -> Callable[..., Made]:
    """Task definitions by RegisterTaskDefinition: what CloudFormation's own way drops stays."""
    register = get("services.ecs._register_task_definition")

    def create(logical_id: str, properties: Properties, stack: str) -> Made:
        request = _camel({"Family": f"{stack}-{logical_id}", **properties})
        status, _, body = register(request)
        answer = json.loads(body)
        if status >= 400:
            raise ValueError(f"AWS::ECS::TaskDefinition {logical_id}: {answer}")
        arn = answer["taskDefinition"]["taskDefinitionArn"]
        return arn, {"TaskDefinitionArn": arn}

    return create


def _of_several_metrics(original: Callable[[str, Properties], Any]) -> Callable[[str, Properties], Any]:
    """An alarm on a computation is there, but watches nothing: ministack cannot compute."""

    def record(name: str, properties: Properties) -> Any:
        if "Metrics" in properties:
            kept = {key: value for key, value in properties.items() if key != "Metrics"}
            properties = {
                "Namespace": "rehearsal",
                "MetricName": name,
                "Period": 60,
                "Statistic": "Sum",
                **kept,
            }
        return original(name, properties)

    return record


def _camel(value: Any) -> Any:
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item if key in _VERBATIM else _camel(item) for key, item in value.items()}
    return {key[:1].lower() + key[1:]: item for key, item in kept.items()}


def _unknown_image(original: Callable[[Properties], Any]) -> Callable[[Properties], Any]:
    """Without this the CDK believes that every image is in the repository already."""
    find, refuse = get("services.ecr._find_image"), get("core.responses.error_response_json")

    def describe(data: Properties) -> Any:
        answer = original(data)
        wanted = data.get("imageIds") or []
        if answer[0] == 200 and wanted and not any(find(data["repositoryName"], one) for one in wanted):
            return refuse("ImageNotFoundException", "The image requested does not exist.", 400)
        return answer

    return describe
