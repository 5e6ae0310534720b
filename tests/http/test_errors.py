import logging

import pytest
from fastapi.testclient import TestClient

from opensessions import errors
from opensessions.http import api
from opensessions.http.errors import kind_of
from tests.fakes import World, open_account


def test_a_fault_of_ours_is_logged_and_says_nothing(here: World, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    here.service.page = broken  # type: ignore[assignment]
    client = TestClient(api.create_app(here.service))
    with caplog.at_level(logging.ERROR):
        response = client.get("/v1/sessions", headers={"X-API-Key": open_account(here.keyring)})
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (500, "internal_error")
    assert "hunter2" not in response.text and "RuntimeError" not in response.text
    assert error["request_id"] == response.headers["X-Request-Id"]
    assert error["request_id"] in caplog.text and "hunter2" in caplog.text


@pytest.mark.parametrize(
    ("method", "url", "status", "kind"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/sessions/", 404, "not_found"),
        ("GET", "/v1/sessions/a/b/c", 404, "not_found"),
        ("GET", "/sandbox/v1/inbox", 404, "not_found"),
        ("POST", "/v1/messages", 404, "not_found"),
        ("POST", "/callback/v1/events", 404, "not_found"),
        ("GET", "/redoc", 404, "not_found"),
        ("PUT", "/v1/sessions", 405, "invalid_request"),
        ("DELETE", "/v1/sessions", 405, "invalid_request"),
        ("POST", "/healthz", 405, "invalid_request"),
    ],
)
def test_the_frameworks_own_refusals_have_our_shape(
    client: TestClient, method: str, url: str, status: int, kind: str
) -> None:
    response = client.request(method, url, follow_redirects=False)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (status, kind)
    assert set(error) == {"type", "message", "request_id"}
    assert response.headers["Content-Type"] == "application/json"


def test_every_error_that_may_reach_a_caller_has_a_status() -> None:
    def below(cls: type[Exception]) -> set[type[Exception]]:
        return {cls}.union(*(below(sub) for sub in cls.__subclasses__()))

    hidden = below(errors.StoreError) | {errors.OpenSessionsError}
    for cls in below(errors.OpenSessionsError) - hidden:
        assert kind_of(cls.__new__(cls)) is not None, cls  # type: ignore[arg-type]
