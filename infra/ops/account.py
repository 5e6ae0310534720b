"""The account and region that the operator's commands talk to, and what is deployed there."""

import json
import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

STACK = "opensessions"
_RETRIES = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})


class OperatorError(Exception):
    """A command cannot go on; the text says why and what to do."""


class Account:
    """`region` None: the environment's, then the profile's. Clients are made when they are asked for."""

    def __init__(self, region: str | None = None) -> None:
        named = region or os.environ.get("AWS_REGION")
        self._session = boto3.Session(region_name=named or None)

    @property
    def region(self) -> str | None:
        return self._session.region_name

    def client(self, name: str) -> Any:
        """Raises NoRegionError where one is needed and none is set."""
        return self._session.client(name, config=_RETRIES)  # type: ignore[call-overload]


class Deployment:
    """One stack of an account."""

    def __init__(self, account: Account, stack: str = STACK) -> None:
        self.account, self.stack = account, stack

    @property
    def status(self) -> str | None:
        """CloudFormation's word for its state; None when there is no such stack."""
        described = self._described
        return str(described["StackStatus"]) if described else None

    @cached_property
    def outputs(self) -> dict[str, str]:
        """By name, in alphabetical order. Raises OperatorError when there is no such stack."""
        if self._described is None:
            raise OperatorError(
                f"There is no stack {self.stack!r} in {self.account.region}. Deploy it with `make deploy`, "
                'or name the right stack (CONTEXT="stack=…") and region (AWS_REGION).'
            )
        listed = self._described.get("Outputs", [])
        return {entry["OutputKey"]: entry["OutputValue"] for entry in sorted(listed, key=_output_key)}

    def output(self, name: str) -> str:
        """Raises OperatorError when the stack has none of that name."""
        if name not in self.outputs:
            known = ", ".join(self.outputs) or "none yet"
            raise OperatorError(
                f"The stack {self.stack!r} ({self.status}) has no output {name}; it has: {known}."
            )
        return self.outputs[name]

    def functions(self) -> dict[str, str]:
        """Its Lambda functions by their handler, `functions.<name>.handler`: their names."""
        found: dict[str, str] = {}
        lambdas = self.account.client("lambda")
        for resource in self._resources():
            if resource["ResourceType"] == "AWS::Lambda::Function":
                name = resource["PhysicalResourceId"]
                found[lambdas.get_function_configuration(FunctionName=name).get("Handler", name)] = name
        return found

    def kept(self) -> list[tuple[str, str]]:
        """What stays when the stack goes: type and name."""
        cloudformation = self.account.client("cloudformation")
        template = cloudformation.get_template(StackName=self.stack)["TemplateBody"]
        body = json.loads(template) if isinstance(template, str) else template
        retained = {
            name
            for name, resource in body["Resources"].items()
            if resource.get("DeletionPolicy", "Delete") != "Delete"
        }
        found = [
            (resource["ResourceType"], resource.get("PhysicalResourceId", ""))
            for resource in self._resources()
            if resource["LogicalResourceId"] in retained
        ]
        return sorted(found)

    def _resources(self) -> Iterator[dict[str, Any]]:
        pages = self.account.client("cloudformation").get_paginator("list_stack_resources")
        for page in pages.paginate(StackName=self.stack):
            yield from page["StackResourceSummaries"]

    @cached_property
    def _described(self) -> dict[str, Any] | None:
        try:
            answer = self.account.client("cloudformation").describe_stacks(StackName=self.stack)
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return None
            raise
        return dict(answer["Stacks"][0])


def _output_key(entry: dict[str, str]) -> str:
    return entry["OutputKey"]
