"""An account's own key of the model: on its own calls, and on no others."""

import logging

import httpx2
import pytest

from gateway.model_upstream import KeyAway
from tests.gateway.model_parts import OTHER_TOKEN, REAL_KEY, fixed, model_place

OWN = "sk-own-canary-of-acme"


async def own_key(account: str) -> str | None:
    return OWN if account == "acme" else None


class Signed(httpx2.Auth):
    """An operator's proof that is no key."""

    def auth_flow(self, request):  # type: ignore[no-untyped-def]
        request.headers["authorization"] = "operator"
        yield request


async def test_the_key_of_an_account_reaches_its_own_calls_alone() -> None:
    async with model_place(own_key=own_key) as here:
        for token in (None, OTHER_TOKEN, None):
            answer = await here.ask(**({"headers": {"x-api-key": token}} if token else {}))
            assert answer.status_code == 200 and OWN not in str(answer.headers) + answer.text
        await here.client.post("/v1/messages/count_tokens", json={"model": "m", "messages": []}, headers={"x-api-key": OTHER_TOKEN})  # fmt: skip  # noqa: E501
    sent = [request.headers["x-api-key"] for request in here.stub.requests]
    assert sent == [OWN, REAL_KEY, OWN, REAL_KEY]
    assert all(OWN not in str(told) for told in here.book.settled)


async def test_the_operators_other_proof_is_not_sent_beside_it() -> None:
    async with model_place(auth=Signed(), own_key=own_key) as here:
        await here.ask()
        await here.ask(headers={"x-api-key": OTHER_TOKEN})
    own, others = (request.headers for request in here.stub.requests)
    assert own["x-api-key"] == OWN and "authorization" not in own
    assert others["authorization"] == "operator" and "x-api-key" not in others


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_is_told_to_be_the_accounts(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    error = {"type": "error", "error": {"type": "authentication_error", "message": f"bad key {OWN}"}}
    async with model_place(fixed(error, status), own_key=own_key) as here:
        answer = await here.ask()
        await here.settled(1)
    assert answer.status_code == 403 and "PUT /v1/model-key" in answer.json()["error"]["message"]
    assert OWN not in answer.text + caplog.text
    _, _, usage = here.book.settled[0]
    assert usage == {}


async def test_nobody_elses_key_is_used_while_an_accounts_cannot_be_read() -> None:
    async def away(account: str) -> str | None:
        raise KeyAway

    async with model_place(own_key=away) as here:
        answer = await here.ask()
    assert answer.status_code == 529 and answer.headers["x-should-retry"] == "true"
    assert here.stub.requests == []
