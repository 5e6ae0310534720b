"""What each role of a template may do, spelled so that it can be compared with a table."""

import json
import re
from typing import Any

from tests.infra.stacks import Template, of_type

Grants = dict[str, set[str]]


def grants(template: Template) -> Grants:
    """`<action> on <resource>[ if <condition>]`, for each role by its name without CDK's hash."""
    found: Grants = {plain(name): set() for name in of_type(template, "AWS::IAM::Role")}
    for name, made in of_type(template, "AWS::IAM::Role").items():
        for managed in made["Properties"].get("ManagedPolicyArns", []):
            found[plain(name)].add(f"managed {shown(managed).rsplit('/', 1)[-1]}")
    for made in of_type(template, "AWS::IAM::Policy").values():
        for role in made["Properties"]["Roles"]:
            for statement in made["Properties"]["PolicyDocument"]["Statement"]:
                found[plain(role["Ref"])] |= set(_lines(statement))
    return found


def plain(logical_id: str) -> str:
    """A logical id without CDK's hash."""
    return re.sub(r"[0-9A-F]{8}$", "", logical_id)


def shown(value: Any) -> str:
    """A value of a template in one line; references as `<name>`."""
    if isinstance(value, dict):
        if "Ref" in value:
            return f"<{plain(value['Ref'])}>".replace("<AWS::", "<")
        if "Fn::GetAtt" in value:
            name, attribute = value["Fn::GetAtt"]
            return f"<{plain(name)}>" if attribute == "Arn" else f"<{plain(name)}.{attribute}>"
        if "Fn::Join" in value:
            return str(value["Fn::Join"][0]).join(map(shown, value["Fn::Join"][1]))
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text.replace("arn:<Partition>:", "")


def _lines(statement: dict[str, Any]) -> list[str]:
    assert statement["Effect"] == "Allow", statement
    bound = "".join(
        f" if {key} = {shown(value)}"
        for test in statement.get("Condition", {}).values()
        for key, value in test.items()
    )
    return [
        f"{action} on {shown(resource).removeprefix('arn:<Partition>:')}{bound}"
        for action in _listed(statement["Action"])
        for resource in _listed(statement["Resource"])
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
