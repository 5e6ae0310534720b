"""What keys of each scope may do."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from opensessions.access.keyring import SCOPES, Scope
from opensessions.http import api
from tests.fakes import World, open_account

NEW = {"prompt": "Build it", "user_id": "u1"}
READ = [("GET", path) for path in ("", "/ID", "/ID/events/page", "/ID/versions")]
WRITE = [
    ("POST", ""),
    ("POST", "/ID/messages"),
    ("POST", "/ID/interrupt"),
    ("POST", "/ID/hibernate"),
    ("POST", "/ID/restore"),
    ("POST", "/ID/tokens"),
    ("DELETE", "/ID/tokens"),
    ("PATCH", "/ID"),
    ("DELETE", "/ID"),
]
CALLS: dict[Scope, list[tuple[str, str]]] = {
    "read": [
        *((method, f"/v1/sessions{path}") for method, path in READ),
        ("GET", "/v1/usage"),
        ("GET", "/v1/templates"),
        ("GET", "/v1/users/u1/limits"),
    ],
    "write": [
        *((method, f"/v1/sessions{path}") for method, path in WRITE),
        ("POST", "/v1/templates"),
        ("DELETE", f"/v1/templates/tpl_{'0' * 32}"),
    ],
    "admin": [
        ("POST", "/v1/webhooks"),
        ("GET", "/v1/webhooks"),
        ("DELETE", f"/v1/webhooks/whk_{'0' * 32}"),
        ("PUT", "/v1/users/u1/limits"),
    ],
}
Of = Callable[[Scope], TestClient]


@pytest.fixture
def of(here: World) -> Iterator[Of]:
    client = TestClient(api.create_app(here.service))

    def shown(scope: Scope) -> TestClient:
        client.headers["X-API-Key"] = open_account(here.keyring, scope=scope)
        return client

    with client:
        yield shown


@pytest.mark.parametrize(
    ("needed", "method", "path"),
    [(needed, method, path) for needed, calls in CALLS.items() for method, path in calls],
)
def test_a_key_does_what_its_scope_contains_and_is_told_what_it_lacks(
    here: World, of: Of, needed: Scope, method: str, path: str
) -> None:
    session = here.create()
    for scope in SCOPES:
        body = NEW if method in ("POST", "PUT", "PATCH") else None
        answer = of(scope).request(method, path.replace("ID", session.id), json=body)
        if SCOPES.index(scope) >= SCOPES.index(needed):
            assert answer.status_code not in (401, 403), answer.text
        else:
            assert answer.status_code == 403
            error = answer.json()["error"]
            assert error["type"] == "forbidden"
            assert error["message"] == f"This takes the scope {needed}; this API key has {scope}."


def test_a_revoked_key_opens_nothing_at_once(here: World, of: Of) -> None:
    client = of("admin")
    assert client.get("/v1/sessions").status_code == 200
    (key,) = here.keyring.of_account("acme")
    here.keyring.revoke(key, here.clock())
    answer = client.get("/v1/sessions")
    assert answer.status_code == 401 and "revoked" in answer.json()["error"]["message"]
