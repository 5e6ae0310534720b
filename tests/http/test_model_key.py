"""Accounts' own keys of the model, and the models that there are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from opensessions.http import api
from opensessions.local.model_keys import FileModelKeys
from tests.fakes import World, open_account, world

KEY = "sk-ant-canary-of-a-model-key"


@pytest.fixture
def keys(tmp_path: Path) -> FileModelKeys:
    return FileModelKeys(tmp_path / "model-keys", bytes(32))


@pytest.fixture
def here(tmp_path: Path, keys: FileModelKeys) -> Iterator[World]:
    made = world(tmp_path, model_keys=keys, models=frozenset({"big", "small"}))
    yield made
    made.store.close()  # type: ignore[attr-defined]


def test_it_is_put_replaced_told_of_and_deleted(
    here: World, client: TestClient, other: TestClient, keys: FileModelKeys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    url = "/v1/model-key"
    assert client.get(url).json() == {"set": False, "since": None}
    answers = [client.put(url, json={"key": KEY}), client.get(url)]
    assert keys.read("acme") == KEY and keys.read("globex") is None
    assert other.get(url).json()["set"] is False
    answers += [client.put(url, json={"key": KEY[::-1]}), client.get("/v1/audit")]
    assert keys.read("acme") == KEY[::-1]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert answers[0].json()["set"] is True and answers[0].json()["since"].endswith("Z")
    actions = [entry["action"] for entry in answers[3].json()["data"]]
    assert actions == ["put_model_key", "put_model_key"]
    for _ in range(2):
        assert client.delete(url).status_code == 204
    assert client.get(url).json()["set"] is False and keys.read("acme") is None
    told = caplog.text + "".join(answer.text for answer in answers)
    assert KEY not in told and KEY[::-1] not in told


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 513, f"{KEY} {KEY}", f"{KEY}\n", "sk-ä" + "x" * 20, 7, None]
)
def test_what_cannot_be_a_key_is_refused_and_not_said_again(client: TestClient, key: object) -> None:
    answer = client.put("/v1/model-key", json={"key": key})
    assert answer.status_code == 400 and answer.json()["error"]["field"] == "key"
    assert "canary" not in answer.text and "xxx" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_it_takes_the_scope_admin(here: World, client: TestClient, method: str) -> None:
    client.headers["X-API-Key"] = open_account(here.keyring, scope="write")
    answer = client.request(method, "/v1/model-key", json={"key": KEY} if method == "PUT" else None)
    assert answer.status_code == 403 and "scope admin" in answer.json()["error"]["message"]


def test_where_the_model_takes_no_keys_that_is_said(tmp_path: Path) -> None:
    plain = world(tmp_path / "plain") if (tmp_path / "plain").mkdir() is None else None
    assert plain
    headers = {"X-API-Key": open_account(plain.keyring)}
    with TestClient(api.create_app(plain.service), headers=headers) as client:
        assert client.put("/v1/model-key", json={"key": KEY}).status_code == 409
        assert "Bedrock" in client.get("/v1/model-key").json()["error"]["message"]


def test_a_model_that_is_not_there_is_refused_with_those_that_are(client: TestClient) -> None:
    for model in ("big", "small", None):
        body = {"prompt": "x", "user_id": "u", "agent_config": {"model": model} if model else {}}
        assert client.post("/v1/sessions", json=body).status_code == 201
    body = {"prompt": "x", "user_id": "u", "agent_config": {"model": "huge"}}
    answer = client.post("/v1/sessions", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["field"] == "agent_config.model" and error["message"].endswith("models: big, small.")
