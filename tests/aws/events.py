"""Events as AWS sends them to the functions."""

import json
from typing import Any

from opensessions.models import Session


def proxied(
    method: str, path: str, key: str | None = None, body: Any = None, query: dict[str, str] | None = None
) -> dict[str, Any]:
    """An event of a REST API; its stage is in the context alone."""
    headers = {"Host": "abc.execute-api.us-east-1.amazonaws.com", "Content-Type": "application/json"}
    headers |= {"X-API-Key": key} if key else {}
    parts = path.split("/")
    return {
        "resource": "/v1/sessions/{id}" if len(parts) > 3 else "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()}
        if query
        else None,
        "pathParameters": {"id": parts[3]} if len(parts) > 3 else {"proxy": path[1:]},
        "stageVariables": None,
        "requestContext": {
            "resourcePath": "/{proxy+}",
            "httpMethod": method,
            "path": f"/prod{path}",
            "stage": "prod",
            "protocol": "HTTP/1.1",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl"},
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
        },
        "body": body if body is None or isinstance(body, str) else json.dumps(body),
        "isBase64Encoded": False,
    }


def stopped(session: Session, **detail: Any) -> str:
    """An event as EventBridge puts it on the queue; `detail` overrides, None leaves out."""
    worker = {"name": "sandbox", "exitCode": 1, "lastStatus": "STOPPED", "image": "1.dkr.ecr/sandbox"}
    told = {
        "clusterArn": "arn:aws:ecs:us-east-1:123456789012:cluster/c",
        "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/c/0123456789abcdef",
        "startedBy": session.sandbox_id,
        "group": f"launch:{session.launch}",
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "containers": [worker],
        "version": 5,
        **detail,
    }
    return json.dumps(
        {
            "version": "0",
            "id": "9bcdac79-b31f-4d3d-9410-fbd727c29fab",
            "detail-type": "ECS Task State Change",
            "source": "aws.ecs",
            "account": "123456789012",
            "time": "2026-11-24T10:00:00Z",
            "region": "us-east-1",
            "resources": [told["taskArn"]],
            "detail": {name: value for name, value in told.items() if value is not None},
        }
    )


def queued(*bodies: str) -> dict[str, Any]:
    """A batch of messages, as Lambda takes them from a queue; each one's id is its place."""
    return {
        "Records": [
            {
                "messageId": str(place),
                "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:tasks",
                "awsRegion": "us-east-1",
            }
            for place, body in enumerate(bodies)
        ]
    }
