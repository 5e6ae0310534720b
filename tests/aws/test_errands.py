"""What webhooks are to be told in the cloud: from the commit to the queue, and from there to the function."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.sqs.models import sqs_backends

from opensessions.aws import settings
from opensessions.aws.hooks import DynamoHooks
from opensessions.webhooks.hooks import Hook, Letter
from tests.aws.account import PROMPT, Account, Function
from tests.aws.events import proxied, queued
from tests.fakes import open_account

HOOK = f"whk_{1:032x}"


@pytest.fixture(scope="module")
def api(cloud: Account) -> Function:
    return cloud.function("api")


@pytest.fixture(scope="module")
def deliver(cloud: Account) -> Function:
    return cloud.function("deliver")


@pytest.fixture(scope="module")
def hooks(cloud: Account) -> DynamoHooks:
    """With a webhook of "acme" that leads nowhere: an address, as the rules were not always."""
    made = DynamoHooks(cloud.environment["TABLE_NAME"], cloud.client("dynamodb"))
    usual = {"account": "acme", "url": "https://127.0.0.1/", "secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAA"}
    made.put(Hook(id=HOOK, created_at=datetime.now(UTC), **usual))
    return made


def session_of(cloud: Account, api: Function) -> dict[str, Any]:
    key = open_account(cloud.keyring)
    answer = api(proxied("POST", "/v1/sessions", key, {"prompt": PROMPT, "user_id": "u1"}))
    assert answer["statusCode"] == 201, answer
    session: dict[str, Any] = json.loads(answer["body"])
    return session


def taken(cloud: Account) -> list[tuple[int, Any]]:
    """What is on the deliveries queue, with its delays; it is empty then."""
    name = cloud.environment["DELIVERIES_QUEUE_URL"].rpartition("/")[2]
    queue = sqs_backends["123456789012"]["us-east-1"].queues[name]
    found = [
        (
            max(0, round((message.delayed_until - (message.sent_timestamp or 0)) / 1000)),
            json.loads(message.body),
        )
        for message in queue._messages
    ]
    queue._messages.clear()
    return found


def test_from_the_commit_to_the_next_try(
    cloud: Account, api: Function, deliver: Function, hooks: DynamoHooks
) -> None:
    session = session_of(cloud, api)
    errand = {"hook_id": HOOK, "session_id": session["id"], "seq": None}
    assert taken(cloud) == [(0, errand)]
    for _ in range(2):  # delivered twice by the queue, it is tried once
        assert deliver(queued(json.dumps(errand))) == {"batchItemFailures": []}
    assert taken(cloud) == [(5, errand)]
    [cursor] = hooks.cursors(session["id"])
    assert (cursor.seq, cursor.attempts, cursor.holder) == (0, 1, None) and cursor.due_at
    [failed] = [line for line in deliver.lines() if "event 1 failed" in line["message"]]
    assert "IP addresses are refused" in failed["message"]


def test_a_dead_letter_is_an_errand_of_its_own(
    cloud: Account, api: Function, deliver: Function, hooks: DynamoHooks
) -> None:
    session = session_of(cloud, api)
    taken(cloud)
    letter = {"event_type": "session_started", "attempts": 8, "error": "", "died_at": datetime.now(UTC)}
    hooks.bury(Letter(hook_id=HOOK, session_id=session["id"], seq=1, **letter))
    errand = {"hook_id": HOOK, "session_id": session["id"], "seq": 1}
    assert deliver(queued(json.dumps(errand))) == {"batchItemFailures": []}
    [dead] = hooks.letters(HOOK, ("", 0), 10, session["id"])
    assert (dead.attempts, taken(cloud)) == (9, [])


@pytest.mark.parametrize("body", ["no JSON", "{}", '{"hook_id": "whk_1", "session_id": "session_1"}'])
def test_what_is_no_errand_is_given_back(deliver: Function, body: str) -> None:
    assert deliver(queued(body)) == {"batchItemFailures": [{"itemIdentifier": "0"}]}


def test_the_sweep_sends_what_is_due_and_what_was_lost(
    cloud: Account, api: Function, hooks: DynamoHooks
) -> None:
    session = session_of(cloud, api)
    assert taken(cloud), "which is lost now"
    kept = cloud.store.get(session["id"])
    assert kept
    cloud.store.commit(kept, kept.model_copy(update={"due_at": datetime.now(UTC)}))
    cloud.function("sweep")({"source": "aws.events", "detail-type": "Scheduled Event"})
    errands = [errand for _, errand in taken(cloud)]
    assert {"hook_id": HOOK, "session_id": session["id"], "seq": None} in errands


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("https://{sandbox}-p{port}.previews.example.com", ("previews.example.com",)),
        ("https://d111111abcdef8.cloudfront.net/{sandbox}/{port}", ("d111111abcdef8.cloudfront.net",)),
        ("", ()),
    ],
)
def test_no_webhook_leads_to_a_preview(url: str, names: tuple[str, ...]) -> None:
    assert settings.Storage("t", "b", url).preview_names == names
