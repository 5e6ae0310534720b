"""Whatever fits the OpenAPI document, and much that does not, is answered as the document says.

12 examples of each by default; 100 with `OPENSESSIONS_SLOW_TESTS`.
"""

import os
from typing import Any

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

from opensessions.http import api, files, history, templates, usage
from opensessions.http.api import create_app
from opensessions.http.openapi import document
from tests.fakes import World, open_account

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OF_THE_GATEWAY = ("/v1/sessions/{session_id}/events", *files.OPERATIONS)
CALLS = [
    (path, method)
    for part in (api, history, templates, usage)
    for path, operations in document(part.router.routes)["paths"].items()
    for method in operations
    if path not in (*OF_THE_GATEWAY, "/healthz")
]
quick = settings(
    max_examples=100 if os.environ.get("OPENSESSIONS_SLOW_TESTS") else 12,
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
    headers = {"X-API-Key": open_account(here.keyring)}

    @quick
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)
        if case.path_parameters:
            case.path_parameters |= there(here, case.path_parameters)
            case.call_and_validate(headers=headers, checks=CHECKS)

    check()


def there(here: World, parameters: dict[str, Any]) -> dict[str, Any]:
    """Of such parameters, those that name something, with something that is there."""
    session = here.create()
    if "number" in parameters:
        here.keep_turn(session)
    if "template_id" in parameters:
        return {"template_id": here.service.templates.create(session, "Vite").id}
    return {"session_id": session.id} | {name: 1 for name in parameters if name == "number"}
