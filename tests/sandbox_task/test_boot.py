"""The worker's half of the swap of a ticket for a token."""

import asyncio
import re

import httpx2
import pytest

from sandbox_task import gateway
from sandbox_task.boot import booted
from sandbox_task.gateway import Backoff, Revoked
from sandbox_task.settings import Settings, settings

SOON = Backoff(first=0.001, most=0.002)
GIVEN = {
    "SANDBOX_ID": "sb-1",
    "GATEWAY_URL": "http://g:8001",
    "EGRESS_URL": "http://g:8002",
    "DOOR_PORT": "7070",
}


def answering(monkeypatch: pytest.MonkeyPatch, *answers: httpx2.Response | Exception) -> list[httpx2.Request]:
    """A gateway that gives these answers in turn; returns what it was asked."""
    asked: list[httpx2.Request] = []
    left = list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        if isinstance(given := left.pop(0), Exception):
            raise given
        return given

    def client(url: str, token: str) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.AsyncClient(base_url=url, headers=headers, transport=httpx2.MockTransport(answer))

    monkeypatch.setattr(gateway, "client", client)
    return asked


def with_ticket() -> Settings:
    def never() -> bytes:
        raise AssertionError("standard input is not read where there is a ticket")

    return settings(GIVEN | {"BOOT_TICKET": "osw_1_x"}, never)


def test_a_ticket_is_swapped_however_often_the_gateway_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    token = httpx2.Response(200, json={"token": "osw_1_y"})
    asked = answering(monkeypatch, httpx2.ConnectError("no"), httpx2.Response(503), token)
    given = asyncio.run(booted(with_ticket(), SOON))
    assert (given.token, given.ticket, given.door_port) == ("osw_1_y", "", 7070)
    assert [str(one.url) for one in asked] == ["http://g:8001/sandbox/v1/boot"] * 3
    assert asked[0].headers["authorization"] == "Bearer osw_1_x"


def test_an_answer_that_got_lost_is_asked_for_again_with_one_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = [httpx2.ReadError("cut"), httpx2.Response(200, text='{"tok'), httpx2.Response(200, text="[]")]
    token = httpx2.Response(200, json={"token": "osw_1_y"})
    asked = answering(monkeypatch, *lost, httpx2.ReadTimeout("slow"), token)
    assert asyncio.run(booted(with_ticket(), SOON)).token == "osw_1_y"
    nonces = {one.headers["boot-nonce"] for one in asked}
    assert len(asked) == 5 and len(nonces) == 1
    again = answering(monkeypatch, httpx2.Response(200, json={"token": "osw_1_y"}))
    asyncio.run(booted(with_ticket(), SOON))
    nonces.add(again[0].headers["boot-nonce"])
    assert len(nonces) == 2 and all(re.fullmatch("[0-9a-f]{64}", nonce) for nonce in nonces)


def test_a_ticket_that_is_worth_nothing_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, httpx2.Response(401))
    with pytest.raises(Revoked):
        asyncio.run(booted(with_ticket(), SOON))


def test_who_has_a_token_asks_nobody() -> None:
    given = settings(dict(GIVEN), lambda: b'{"token": "osw_1_z"}')
    assert asyncio.run(booted(given)) is given
