"""An account's own model key in the deployed system: each role does what it needs with it, and no more."""

import httpx2
import pytest

from opensessions.aws.model_keys import secret_name
from tests.e2e.target import until
from tests.rehearsal.rehearsal import Rehearsal

pytestmark = [pytest.mark.rehearsal, pytest.mark.timeout(240)]
KEY = "sk-canary-of-an-own-model-key"


def test_a_key_is_put_used_and_deleted(server: Rehearsal) -> None:
    secrets = server.emulator.client("secretsmanager")
    name = secret_name("opensessions/model-keys/", "keyed")
    with httpx2.Client(
        base_url=server.url, headers={"X-API-Key": server.new_key("own", account="keyed")}, timeout=40
    ) as http:
        assert http.get("/v1/model-key").json() == {"set": False, "since": None}
        answer = http.put("/v1/model-key", json={"key": KEY})
        assert answer.status_code == 200 and answer.json()["set"] is True, answer.text
        assert secrets.get_secret_value(SecretId=name)["SecretString"] == KEY
        session = http.post("/v1/sessions", json={"prompt": "say hello", "user_id": "u1"}).json()
        url = f"/v1/sessions/{session['id']}"
        until(lambda: http.get(url).json()["status"] == "ready", 60)
        assert http.get(url).json()["usage"]["calls"] > 0
        assert http.delete("/v1/model-key").status_code == 204
        assert http.get("/v1/model-key").json()["set"] is False
        http.delete(url)
    assert KEY not in server.log()
