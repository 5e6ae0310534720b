"""How the functions are put together. Clients are made at first use: a cold start pays for what it uses."""

import json
import secrets
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from opensessions.aws import settings
from opensessions.aws.dynamodb import DynamoStore
from opensessions.aws.fargate import FargateSandboxes
from opensessions.aws.s3 import S3Blobs
from opensessions.lifecycle import Deadlines
from opensessions.service import Quota, Service
from opensessions.supervisor import Supervisor
from opensessions.testimony import Testimony

if TYPE_CHECKING:
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

DEADLINES = Deadlines(start=300)
"""A task takes a minute to start, and its image may be far away."""
QUICK = Config(connect_timeout=1, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 4})
PATIENT = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3})


def store() -> DynamoStore:
    return DynamoStore(settings.storage().table, client("dynamodb", QUICK))


def supervisor() -> Supervisor:
    """Launches, ends and watches sandboxes."""
    place = settings.cluster()
    return Supervisor(
        store(),
        FargateSandboxes(lambda: _ecs(), place),
        clock=_now,
        wake=_wake,
        deadlines=DEADLINES,
        later=lambda *put_off: _later(place.tasks_queue, *put_off),
    )


def service() -> Service:
    """What callers may do."""
    quotas, sessions = settings.quotas(), store()
    return Service(
        sessions,
        supervisor(),
        clock=_now,
        new_id=lambda: secrets.token_hex(16),
        preview_url=settings.storage().preview,
        wake=_wake,
        quota=Quota(quotas.live, quotas.creates),
    )


def testimony() -> Testimony:
    """What sandboxes may say."""
    where = settings.storage()
    return Testimony(
        store(), S3Blobs(lambda: _s3(), where.bucket), clock=_now, preview_url=where.preview, wake=_wake
    )


@cache
def client(name: str, config: Config) -> Any:
    import boto3  # most of a cold start; nothing of it is needed before the first call

    return boto3.client(name, config=config)  # type: ignore[call-overload]


def _ecs() -> "ECSClient":
    made: ECSClient = client("ecs", PATIENT)
    return made


def _s3() -> "S3Client":
    made: S3Client = client("s3", PATIENT)
    return made


def _later(queue: str, sandbox_id: str, launch: int, attempt: int, seconds: int) -> None:
    """Put a launch on the queue that `functions.task_state` reads."""
    put_off = {"relaunch": {"sandbox_id": sandbox_id, "launch": launch, "attempt": attempt}}
    sqs: SQSClient = client("sqs", PATIENT)
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(put_off), DelaySeconds=seconds)


def _now() -> datetime:
    return datetime.now(UTC)


def _wake(session_id: str) -> None:
    """Watchers are at the gateway, which hears of what it relays, and looks for the rest by itself."""
