"""A session's bytes as the service hears of them: each once, soon, and what is left is all that may pass."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx2
import pytest

from gateway import egress_reports
from gateway.egress_meter import REASON
from gateway.egress_reports import CALLBACK_PATH, EgressReports, Pace
from tests.gateway.callback_parts import Callback
from tests.gateway.egress_parts import egress_world
from tests.gateway.model_parts import until

SOON = Pace(seconds=0.02, bytes=1000, apart=0)
LATE = Pace(seconds=60, bytes=1000, apart=0)


@dataclass
class Book(Callback):
    """Counts reports by their ids. A session may move `most` bytes; the first `away` reports are counted, but
    not answered.
    """

    most: int | None = None
    away: int = 0
    counted: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.counted.values())

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        await super()._answer(request)
        path, body = self.asked[-1]
        assert path == CALLBACK_PATH and body["session_id"] == "session_a"
        self.counted[body["id"]] = body["bytes"]
        if len(self.asked) <= self.away:
            raise httpx2.ReadError("hung up", request=request)
        left = None if self.most is None else max(0, self.most - self.total)
        return httpx2.Response(200, json={"left": left})


async def test_bytes_are_told_together_after_a_while() -> None:
    book = Book()
    async with book.client() as callback:
        reports = EgressReports(callback, SOON)
        for _ in range(5):
            reports.count("session_a", 10, 20)
        await until(lambda: book.total == 150)
        assert len(book.asked) == 1
        reports.count("session_a", 1, 0)
        await until(lambda: book.total == 151)
        await reports.aclose()
        assert len(book.asked) == len(book.counted) == 2


@pytest.mark.parametrize("how", ["many", "rest", "close"])
async def test_they_are_told_at_once_when_they_are_many_or_nothing_goes_on(how: str) -> None:
    book, count = Book(), 1000 if how == "many" else 10
    async with book.client() as callback:
        reports = EgressReports(callback, LATE)
        reports.count("session_a", count, 0)
        if how == "rest":
            reports.rest("session_a")
        if how == "close":
            await reports.aclose()
        await until(lambda: book.total == count)
        await reports.aclose()
        assert len(book.asked) == 1


async def test_a_session_that_opens_many_connections_is_not_told_of_each() -> None:
    book = Book()
    async with book.client() as callback:
        reports = EgressReports(callback, Pace(60, 1000, apart=0.3))
        for _ in range(50):
            reports.count("session_a", 1, 0)
            reports.rest("session_a")
            await asyncio.sleep(0.002)
        await until(lambda: book.total == 50)
        await reports.aclose()
        assert len(book.asked) <= 3


async def test_a_report_that_was_heard_but_not_answered_counts_once() -> None:
    book = Book(away=3)
    async with book.client() as callback:
        reports = EgressReports(callback, SOON, pauses=(0.01,))
        reports.count("session_a", 500, 0)
        await until(lambda: len(book.asked) == 2)
        reports.count("session_a", 7, 0)
        await until(lambda: book.total == 507)
        await reports.aclose()
        assert [body["bytes"] for _, body in book.asked] == [500, 500, 500, 500, 7]
        assert len(book.counted) == 2


async def test_closing_does_not_wait_for_ever() -> None:
    book = Book(away=10**6)
    async with book.client() as callback:
        reports = EgressReports(callback, SOON, pauses=(0.01,))
        reports.count("session_a", 500, 0)
        await asyncio.wait_for(reports.aclose(within=0.05), 5)


async def test_what_is_left_is_all_that_passes_and_more_when_the_limit_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(egress_reports, "ASK_SECONDS", 0.5)
    book = Book(most=100_000)
    async with book.client() as callback:
        reports = EgressReports(callback, Pace(0.02, 10_000, apart=0))
        async with egress_world(reports=reports) as world:
            reader, writer = await world.tunnel()
            writer.write(b"x" * 20_000)
            await reader.readexactly(20_000)
            await until(lambda: book.total == 40_000)
            writer.write(b"x" * 60_000)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(60_000), 5)
            answer = await world.connect("other.test:443")
            assert answer.startswith(b"HTTP/1.1 403 ") and REASON.encode() in answer
            assert "limits.egress_bytes" in REASON and ("session_a", "other.test", REASON) in world.refused
            await until(lambda: reports._tallies["session_a"].untold == 0)
            assert book.total <= 100_000
            told = len(book.asked)
            for _ in range(5):  # asked once in a while, not for each
                assert (await world.connect("other.test:443")).startswith(b"HTTP/1.1 403 ")
            assert len(book.asked) <= told + 1
            book.most = 200_000
            await asyncio.sleep(0.5)
            reader, writer = await world.tunnel()
            writer.write(b"x" * 40_000)
            await reader.readexactly(40_000)
        await reports.aclose()
        assert 80_000 < book.total <= 200_000


async def test_when_the_service_is_away_bytes_still_pass() -> None:
    book = Book(away=10**6)
    async with book.client() as callback:
        reports = EgressReports(callback, SOON, pauses=(0.01,))
        async with egress_world(reports=reports) as world:
            reader, writer = await world.tunnel()
            writer.write(b"x" * 20_000)
            await reader.readexactly(20_000)
        await reports.aclose(within=0)
