"""The single table: its definition, and how an item of it is spelled.

    pk                                   sk
    SESSION#id                           META | HEAD | CONFIG | EV#<last seq> | MSG#<rev>#<place>
                                         VER#<number> | PASS#<sha256 of the token>
                                         EV#<last seq>#<commit> (the body of a large batch, see `apart`)
                                         USED | TURN#<number> (meters) | ENTRY#<id>
                                         CALL#<id> | OPEN#<id> (until it is settled)
                                         TOLD#<webhook's id> (how far it was told)
    SANDBOX#id                           META | IN#<number>
    KEY#<its id>                         META (in older tables: KEY#<sha256>)
    IDEMP#account#<sha256 of the key>    META
    ACCOUNT#account                      LIVE | TPL#<template's id> | HOOK#<webhook's id>
                                         KEY#<sha256 of the key's name>#<1 or 2> (those that are good)
    AUDIT#account                        <time>#<id>
    HOOK#id                              META | DEAD#<session's id>#<seq>
    USAGE#account                        ALL#<period> | DAY#<day>#<sha256 of the user's id> | MONTH#… (meters)
                                         ALLOWANCE | ALLOWANCE#<sha256 of the user's id>
    COUNT#key                            <window's length>#<window>
    POOL                                 SLOT#<number> (a sandbox that no session has yet)

A session's META is in the indexes: by account (`ap`, `as`), by user (`up`, `us`) and, while something is to
be watched, by the time when (`dp`, `ds`; in shards, so that no partition takes every session's writes). Else
only what a webhook has to be told again is there, by the time when.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from opensessions import codec
from opensessions.errors import StoreError
from opensessions.models import Session, timestamp
from opensessions.money.ledger import Meter

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

VERSION = 1
TTL = "ttl"
BY_ACCOUNT, BY_USER, DUE = "by_account", "by_user", "due"
INDEXES = {BY_ACCOUNT: ("ap", "as"), BY_USER: ("up", "us"), DUE: ("dp", "ds")}
DUE_SHARDS = tuple(f"DUE#{shard}" for shard in range(8))
HOOKS_DUE = "DUE#HOOKS"
POOL = "POOL"

Coder = Callable[[Any], Any]


@cache
def _coders() -> tuple[Coder, Coder]:
    """To DynamoDB's spelling of a value and back. Imported late: all of boto3 comes along."""
    from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

    return TypeSerializer().serialize, TypeDeserializer().deserialize


def table_definition() -> dict[str, Any]:
    """What `CreateTable` takes beside the name. Expiry (`TTL`) is switched on apart from it."""
    names = ["pk", "sk", *(name for pair in INDEXES.values() for name in pair)]
    return {
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        "KeySchema": _key_schema("pk", "sk"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": _key_schema(*pair),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, pair in INDEXES.items()
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }


def create_table(client: "DynamoDBClient", name: str) -> None:
    """Make the table and wait until it can be used."""
    client.create_table(TableName=name, **table_definition())
    client.get_waiter("table_exists").wait(TableName=name)
    expiry = {"Enabled": True, "AttributeName": TTL}
    client.update_time_to_live(TableName=name, TimeToLiveSpecification=expiry)  # type: ignore[arg-type]


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


# ---- keys ----


def session_pk(session_id: str) -> str:
    return f"SESSION#{session_id}"


def session_id(pk: str) -> str:
    return pk.removeprefix("SESSION#")


def sandbox_pk(sandbox_id: str) -> str:
    return f"SANDBOX#{sandbox_id}"


def account_pk(account: str) -> str:
    return f"ACCOUNT#{account}"


def key_pk(key_id: str) -> str:
    return f"KEY#{key_id}"


def key_sk(name: str, place: int) -> str:
    return f"KEY#{_digest(name)}#{place}"


def audit_pk(account: str) -> str:
    return f"AUDIT#{account}"


def claim_pk(account: str, key: str) -> str:
    return f"IDEMP#{account}#{_digest(key)}"


def user_partition(account: str, user_id: str) -> str:
    """A digest of the user's id, which is the caller's and may hold anything, at any length."""
    return f"USER#{account}#{_digest(user_id)}"


def event_sk(seq: int) -> str:
    return f"EV#{seq:012}"


def inbox_sk(number: int) -> str:
    return f"IN#{number:012}"


def message_sk(rev: int, place: int) -> str:
    return f"MSG#{rev:012}#{place:03}"


def version_sk(number: int) -> str:
    return f"VER#{number:06}"


def pass_sk(token_hash: str) -> str:
    return f"PASS#{token_hash}"


def call_sk(call_id: str) -> str:
    return f"CALL#{call_id}"


def open_sk(call_id: str) -> str:
    return f"OPEN#{call_id}"


def entry_sk(entry_id: str) -> str:
    return f"ENTRY#{entry_id}"


def usage_pk(account: str) -> str:
    return f"USAGE#{account}"


def allowance_sk(user_id: str | None) -> str:
    return "ALLOWANCE" if user_id is None else f"ALLOWANCE#{_digest(user_id)}"


def meter_key(meter: Meter) -> tuple[str, str]:
    if meter.session_id is not None:
        return session_pk(meter.session_id), "USED" if meter.turn is None else f"TURN#{meter.turn:06}"
    if meter.user_id is None:
        return usage_pk(meter.account), f"ALL#{meter.period}"
    kind = "MONTH" if meter.monthly else "DAY"
    return usage_pk(meter.account), f"{kind}#{meter.period}#{_digest(meter.user_id)}"


def slot_sk(slot: int) -> str:
    return f"SLOT#{slot:04}"


def template_sk(template_id: str) -> str:
    return f"TPL#{template_id}"


def hook_pk(hook_id: str) -> str:
    return f"HOOK#{hook_id}"


def hook_sk(hook_id: str) -> str:
    return f"HOOK#{hook_id}"


def told_sk(hook_id: str) -> str:
    return f"TOLD#{hook_id}"


def hook_id(sk: str) -> str:
    return sk.partition("#")[2]


def letter_sk(session_id: str, seq: int) -> str:
    return f"DEAD#{session_id}#{seq:012}"


def hook_due(due_at: datetime, hook_id: str) -> dict[str, str]:
    """The attributes that put a webhook's cursor into the index of what is due."""
    return {"dp": HOOKS_DUE, "ds": f"{timestamp(due_at)}#{hook_id}"}


def index_keys(session: Session) -> dict[str, str]:
    """The attributes that put a session's META into the indexes."""
    position = codec.position(session)
    keys = {
        "ap": account_pk(session.account),
        "as": position,
        "up": user_partition(session.account, session.user_id),
        "us": position,
    }
    if session.due_at:
        shard = int(_digest(session.id), 16) % len(DUE_SHARDS)
        keys |= {"dp": DUE_SHARDS[shard], "ds": f"{timestamp(session.due_at)}#{session.id}"}
    return keys


def index_start(index: str, partition: str, position: str, session_id: str) -> dict[str, Any]:
    """Where a query of an index goes on after the session at `position`."""
    names = INDEXES[index]
    key = {names[0]: partition, names[1]: position, "pk": session_pk(session_id), "sk": "META"}
    return attributes(key)


def due_until(now: datetime) -> str:
    """Above the sort key of everything due at `now`, below all others: `$` is next to `#`."""
    return f"{timestamp(now)}$"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


# ---- items ----


def item(pk: str, sk: str, **values: Any) -> dict[str, Any]:
    """The item as DynamoDB takes it; values that are None are left out."""
    return attributes({"pk": pk, "sk": sk, "v": VERSION, **values})


def attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    serialize, _ = _coders()
    return {name: serialize(value) for name, value in values.items() if value is not None}


def values(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an item that was read, in the shape of this version."""
    _, deserialize = _coders()
    plain = {name: v["B"] if "B" in v else deserialize(v) for name, v in stored.items()}
    return upcast(plain)


def upcast(values: dict[str, Any]) -> dict[str, Any]:
    """Items are read in every version that was ever written; index and count answers have none."""
    version = values.get("v", VERSION)
    if version > VERSION:
        raise StoreError(
            f"{values.get('pk')} {values.get('sk')} was written by a newer opensessions (version {version}, "
            f"this one knows {VERSION}): deploy the newer one again."
        )
    return values
