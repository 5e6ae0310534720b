"""How the functions are put together. Clients are made at first use: a cold start pays for what it uses."""

import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from threading import Lock
from typing import Any

from opensessions.access.admission import Admission
from opensessions.aws import settings
from opensessions.aws.audit import DynamoAudit
from opensessions.aws.dynamodb import DynamoStore
from opensessions.aws.fargate import FargateSandboxes
from opensessions.aws.hooks import DynamoHooks
from opensessions.aws.keyring import DynamoKeyring
from opensessions.aws.ledger import DynamoLedger
from opensessions.aws.model_keys import SecretModelKeys
from opensessions.aws.passes import DynamoPasses
from opensessions.aws.pool import DynamoSpares
from opensessions.aws.s3 import S3Blobs
from opensessions.aws.tasks import REFILL
from opensessions.money.allowances import Allowances
from opensessions.money.metering import Metering
from opensessions.money.prices import Prices
from opensessions.pool.pooling import Pooling
from opensessions.pool.unassigned import Unassigned
from opensessions.sessions.keeping import Keeper
from opensessions.sessions.lifecycle import Deadlines
from opensessions.sessions.service import Quota, Service
from opensessions.sessions.supervisor import Supervisor
from opensessions.sessions.testimony import Testimony
from opensessions.webhooks.destinations import Destinations
from opensessions.webhooks.dispatch import Dispatch
from opensessions.webhooks.endpoints import Webhooks
from opensessions.webhooks.hooks import Errand

START_SECONDS = 300
"""A task takes a minute to start, and its image may be far away."""


@dataclass(frozen=True, slots=True)
class Patience:
    """With AWS: seconds to connect and to wait for an answer, and how often in all."""

    connect: float
    answer: float
    attempts: int


QUICK = Patience(connect=1, answer=3, attempts=4)
PATIENT = Patience(connect=1, answer=6, attempts=3)
"""The API answers within 29 seconds, whatever happens."""

_IN_REGION: Any = {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"}
"""Signed addresses name the bucket's region: the name without it leads elsewhere while a bucket is new."""

_making = Lock()


def store() -> DynamoStore:
    table = settings.storage().table
    return DynamoStore(table, Late("dynamodb", QUICK), stored=dispatch().stored)


def hooks() -> DynamoHooks:
    return DynamoHooks(settings.storage().table, Late("dynamodb", QUICK))


def dispatch() -> Dispatch:
    """Who notices that webhooks are to be told something."""
    return Dispatch(hooks(), clock=_now, send=send)


def destinations() -> Destinations:
    """Where webhooks may lead: to no preview."""
    return Destinations(settings.storage().preview_names)


def blobs() -> S3Blobs:
    return S3Blobs(Late("s3", PATIENT), settings.storage().bucket)


def admission() -> Admission:
    """Who is let in."""
    table, dynamodb = settings.storage().table, Late("dynamodb", QUICK)
    passes, keyring = DynamoPasses(table, dynamodb), DynamoKeyring(table, dynamodb)
    return Admission(store(), passes, keyring, DynamoAudit(table, dynamodb), clock=_now, wake=_wake)


def metering() -> Metering:
    """What is used, and what may be."""
    ledger = DynamoLedger(settings.storage().table, Late("dynamodb", QUICK))
    own, day = settings.model_prices(), settings.quotas().day_cost_usd
    allowances = Allowances(ledger, clock=_now, day_cost_usd=day)
    return Metering(store(), ledger, allowances, Prices(own), clock=_now, wake=_wake, later=_later)


def keeper() -> Keeper:
    return Keeper(blobs(), _now)


def supervisor() -> Supervisor:
    """Launches, ends and watches sandboxes."""
    days = settings.retention_days()
    return Supervisor(
        store(),
        FargateSandboxes(Late("ecs", PATIENT), settings.cluster()),
        keeper(),
        clock=_now,
        wake=_wake,
        deadlines=Deadlines(start=START_SECONDS, retention=days * 86_400 if days else None),
        later=_later,
        dispatch=dispatch(),
        metering=metering(),
        pool=pool(),
    )


def spares() -> DynamoSpares:
    return DynamoSpares(settings.storage().table, Late("dynamodb", QUICK))


def pool() -> Pooling:
    """The warm pool. What a new sandbox would run is what its task definition's revision says."""
    warm = settings.warm_pool()
    return Pooling(
        store(),
        spares(),
        FargateSandboxes(Late("ecs", PATIENT), settings.cluster()),
        size=warm.size,
        fingerprint=warm.revision,
        clock=_now,
        new_id=lambda: secrets.token_hex(16),
        wake=_wake,
        later=_later,
        refill=_refill,
        start_seconds=START_SECONDS,
    )


def service() -> Service:
    """What callers may do."""
    quotas, sessions, new_id = settings.quotas(), store(), lambda: secrets.token_hex(16)
    return Service(
        sessions,
        supervisor(),
        keeper(),
        clock=_now,
        new_id=new_id,
        preview_url=settings.storage().preview,
        wake=_wake,
        quota=Quota(quotas.live, quotas.creates),
        webhooks=Webhooks(hooks(), destinations(), clock=_now, new_id=new_id, send=send),
        admission=admission(),
        metering=metering(),
        private_previews=settings.storage().previews_apart,
        narrows_egress=not settings.cluster().public_ip,
        models=settings.models(),
        model_keys=_model_keys(),
    )


def _model_keys() -> SecretModelKeys | None:
    prefix = settings.model_keys()
    return SecretModelKeys(Late("secretsmanager", PATIENT), prefix) if prefix else None


def testimony() -> Testimony:
    """What sandboxes may say."""
    return Testimony(
        store(),
        blobs(),
        clock=_now,
        preview_url=settings.storage().preview,
        wake=_wake,
        later=_later,
        metering=metering(),
        admission=admission(),
        max_live=settings.quotas().live,
        unassigned=Unassigned(spares(), clock=_now, preview_url=settings.storage().preview),
    )


class _Late:
    """A client that is made when it is used first."""

    def __init__(self, name: str, patience: Patience) -> None:
        self._name, self._patience = name, patience

    def __getattr__(self, operation: str) -> Any:
        return getattr(client(self._name, self._patience), operation)


Late: Any = _Late
"""boto3's clients have no types of their own."""


def client(name: str, patience: Patience) -> Any:
    """boto3's client of a service; one for all who have the same patience. Safe to call from many threads."""
    with _making:
        return _made(name, patience)


@cache
def _made(name: str, patience: Patience) -> Any:
    import boto3  # most of a cold start; nothing of it is needed before the first call
    from botocore.config import Config

    config = Config(
        connect_timeout=patience.connect,
        read_timeout=patience.answer,
        max_pool_connections=64,
        retries={"mode": "standard", "total_max_attempts": patience.attempts},
        signature_version="s3v4" if name == "s3" else None,
        s3=_IN_REGION if name == "s3" else None,
    )
    return boto3.client(name, config=config)  # type: ignore[call-overload]


def _later(sandbox_id: str, launch: int, seconds: int) -> None:
    """Put a launch on the queue that `functions.task_state` reads."""
    put_off = {"relaunch": {"sandbox_id": sandbox_id, "launch": launch}}
    client("sqs", PATIENT).send_message(
        QueueUrl=settings.tasks_queue(), MessageBody=json.dumps(put_off), DelaySeconds=seconds
    )


def _refill() -> None:
    """Have the pool filled by whoever reads that queue."""
    client("sqs", PATIENT).send_message(QueueUrl=settings.tasks_queue(), MessageBody=REFILL)


def send(errand: Errand, seconds: int) -> None:
    """Put an errand on the queue that `functions.deliver` reads."""
    client("sqs", PATIENT).send_message(
        QueueUrl=settings.deliveries_queue(), MessageBody=json.dumps(asdict(errand)), DelaySeconds=seconds
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _wake(session_id: str) -> None:
    """Watchers are at the gateway, which hears of what it relays, and looks for the rest by itself."""
