"""Whatever fits the OpenAPI document, and much that does not, is answered as the document says."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from opensessions.http.api import create_app, router
from opensessions.http.openapi import document
from tests.fakes import World, open_account

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
STREAM = "/v1/sessions/{session_id}/events"
CALLS = [
    (path, method)
    for path, operations in document(router.routes)["paths"].items()
    for method in operations
    if path not in (STREAM, "/healthz")
]
quick = settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), CALLS)
def test_every_answer_is_on_the_schema(here: World, path: str, method: str, mode: GenerationMode) -> None:
    described = schemathesis.openapi.from_asgi("/openapi.json", create_app(here.service))
    headers = {"X-API-Key": open_account(here.store)}

    @quick
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)
        if "session_id" in (case.path_parameters or {}):
            case.path_parameters["session_id"] = here.create().id
            case.call_and_validate(headers=headers, checks=CHECKS)

    check()
