"""The gateway's metering before the real callback: what they say to each other is what both mean."""

from __future__ import annotations

import httpx2
import pytest

from gateway.calls import Calls
from gateway.egress_reports import EgressReports, Pace
from gateway.model_body import ModelCall
from gateway.model_failure import Refused
from gateway.model_stream import UNKNOWN, Used
from opensessions.handshake import derived_token
from opensessions.http import callback
from opensessions.models import Limits
from tests.fakes import World
from tests.gateway.model_parts import until

CALL = ModelCall("claude-test", 100, b"x" * 299)
USAGE = {"input_tokens": 30, "output_tokens": 7, "cache_creation": {}, "service_tier": "standard"}


def called(here: World) -> httpx2.AsyncClient:
    way = httpx2.ASGITransport(app=callback.create_app(here.testimony))
    return httpx2.AsyncClient(transport=way, base_url="http://callback")


async def test_calls(here: World) -> None:
    session = here.create(limits=Limits(tokens=300))
    token = derived_token(here.token(session), "model")
    async with called(here) as client:
        calls = Calls(client, (0.01,))
        async with calls.metered(token, session.id, CALL) as bill:
            bill.used, bill.model = Used(USAGE, estimated=True), "x" * 1000
        async with calls.metered(token, session.id, CALL):
            pass
        async with calls.metered(token, session.id, CALL) as bill:
            bill.used = UNKNOWN
        fallbacks = ModelCall("claude-test", 100, b"x" * 299, ("claude-test", "claude-haiku-4-5"))
        async with calls.metered(token, session.id, fallbacks) as bill:
            bill.used = Used({"input_tokens": 100})
        with pytest.raises(Refused, match=r"300 tokens for this session is used up: raise its limit") as why:
            async with calls.metered(token, session.id, CALL):
                pass
        assert (why.value.failure.status, why.value.failure.kind) == (402, "billing_error")
        with pytest.raises(Refused, match="token"):
            async with calls.metered("osw_x", session.id, CALL):
                pass
        await calls.aclose()
    used = here.metering.used(session)
    assert (used.calls, used.input_tokens, used.output_tokens, used.lost) == (3, 230, 107, 2)
    assert used.unpriced == 0


async def test_egress(here: World) -> None:
    session, heard = here.create(limits=Limits(egress_bytes=1000)), dict[str, int]()
    async with called(here) as client:
        reports = EgressReports(client, Pace(0.01, 10_000, 0))
        reports.follow(heard.__setitem__)
        for left in (600, 200, 0, 0):
            reports.count(session.id, 100, 300)
            await until(lambda left=left: heard.get(session.id) == left)
        await reports.aclose()
    assert here.metering.used(session).egress_bytes == 1600
