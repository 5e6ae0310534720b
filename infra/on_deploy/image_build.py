"""A custom resource that is complete when CodeBuild has built and pushed the images."""

import os
from typing import Any

import boto3


def started(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Start the build for a create or an update; nothing is undone when the resource goes."""
    if event["RequestType"] == "Delete":
        return {"PhysicalResourceId": event["PhysicalResourceId"]}
    build = boto3.client("codebuild").start_build(projectName=os.environ["PROJECT"])["build"]
    return {"PhysicalResourceId": build["id"]}


def completed(event: dict[str, Any], context: object) -> dict[str, bool]:
    """Whether the build is over. Raises RuntimeError, which fails the deployment, when it failed."""
    if event["RequestType"] == "Delete":
        return {"IsComplete": True}
    (build,) = boto3.client("codebuild").batch_get_builds(ids=[event["PhysicalResourceId"]])["builds"]
    if build["buildStatus"] == "IN_PROGRESS":
        return {"IsComplete": False}
    if build["buildStatus"] != "SUCCEEDED":
        reason = f"The build of the images ended as {build['buildStatus']}; its log: "
        raise RuntimeError(reason + build.get("logs", {}).get("deepLink", "in CodeBuild's console"))
    return {"IsComplete": True}
