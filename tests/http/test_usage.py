"""`GET /v1/usage`: what was used, by day and user, as JSON and as CSV."""

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient

from opensessions.handshake import derived_token
from opensessions.money.ledger import Amounts, Meter
from tests.fakes import World

USAGE = "/v1/usage"
ONE = Amounts(
    calls=1,
    input_tokens=100,
    output_tokens=50,
    cache_read_tokens=40,
    cache_write_tokens=30,
    cache_write_1h_tokens=20,
    nanodollars=123_456_789,
    lost=1,
    sandbox_milliseconds=1_500,
    egress_bytes=7,
    stored_byte_hours=9,
)
SHOWN = {
    "calls": 1,
    "input_tokens": 100,
    "output_tokens": 50,
    "cache_read_tokens": 40,
    "cache_write_tokens": 30,
    "cache_write_1h_tokens": 20,
    "cost_usd": 0.123456789,
    "unpriced_calls": 0,
    "estimated_calls": 1,
    "sandbox_seconds": 1.5,
    "egress_bytes": 7,
    "stored_byte_hours": 9,
}
NOTHING = {name: 0 for name in SHOWN}


def use(here: World, user: str, day: str, used: Amounts = ONE, account: str = "acme") -> None:
    meters = [Meter(account, user_id=user, period=day), Meter(account, period=day)]
    entry = f"{user} {day} {id(meters)} {here.ledger.read(meters[1]).calls}"
    assert here.ledger.record("s1", entry, meters, used)


@pytest.fixture
def used(here: World) -> World:
    """Two users on three days, and somebody else's."""
    use(here, "ben", "2026-11-01")
    use(here, "ada", "2026-11-01")
    use(here, "ada", "2026-11-03", ONE + ONE)
    use(here, "ada", "2026-10-31")
    use(here, "eve", "2026-11-02", account="globex")
    return here


NOVEMBER = {"from": "2026-11-01", "to": "2026-11-03"}


def read(client: TestClient, **query: str) -> Any:
    answer = client.get(USAGE, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_by_day_also_where_nothing_was_used(used: World, client: TestClient) -> None:
    found = read(client, **NOVEMBER)
    assert list(found) == ["from", "to", "data", "total"]
    assert {name: found[name] for name in NOVEMBER} == NOVEMBER
    assert [(line["day"], line["calls"]) for line in found["data"]] == [
        ("2026-11-01", 2),
        ("2026-11-02", 0),
        ("2026-11-03", 2),
    ]
    assert found["data"][1] == {**NOTHING, "day": "2026-11-02"}
    assert (found["total"]["calls"], found["total"]["cost_usd"]) == (4, 0.493827156)


def test_by_user(used: World, client: TestClient) -> None:
    found = read(client, **NOVEMBER, group_by="user")
    assert [(line["user_id"], line["calls"]) for line in found["data"]] == [("ada", 3), ("ben", 1)]
    assert found["data"][1] == {**SHOWN, "user_id": "ben"}
    assert found["total"] == read(client, **NOVEMBER)["total"]


def test_by_user_and_day(used: World, client: TestClient) -> None:
    found = read(client, **NOVEMBER, group_by="user_day")
    assert [(line["day"], line["user_id"], line["calls"]) for line in found["data"]] == [
        ("2026-11-01", "ada", 1),
        ("2026-11-01", "ben", 1),
        ("2026-11-03", "ada", 2),
    ]
    assert found["total"] == read(client, **NOVEMBER)["total"]


@pytest.mark.parametrize("group_by", ["day", "user", "user_day"])
def test_of_one_user(used: World, client: TestClient, group_by: str) -> None:
    found = read(client, **NOVEMBER, group_by=group_by, user_id="ada")
    assert {line.get("user_id", "ada") for line in found["data"]} == {"ada"}
    assert sum(line["calls"] for line in found["data"]) == found["total"]["calls"] == 3
    assert read(client, **NOVEMBER, group_by=group_by, user_id="eve")["total"] == NOTHING


def test_the_last_thirty_days_where_none_are_named(here: World, client: TestClient) -> None:
    today = here.clock().date().isoformat()
    use(here, "ada", today)
    found = read(client)
    assert (found["to"], len(found["data"])) == (today, 30)
    assert found["data"][-1] == {**SHOWN, "day": today}
    assert read(client, to="2026-11-30")["from"] == "2026-11-01"
    assert read(client, to="0001-01-02")["from"] == "0001-01-01"


def test_a_call_of_a_model_is_on_the_bill(here: World, client: TestClient) -> None:
    session = here.create()
    token = derived_token(here.token(session), "model")
    here.metering.reserve(token, "1" * 32, "claude-test", 1_000, 100)
    assert read(client)["total"] == NOTHING
    usage = {"input_tokens": 900, "output_tokens": 10, "cache_read_input_tokens": 40}
    here.metering.settle(session.id, "1" * 32, "claude-test", usage, False)
    total = read(client)["total"]
    assert (total["calls"], total["input_tokens"], total["cache_read_tokens"]) == (1, 900, 40)
    assert total["cost_usd"] == 0.001004
    assert read(client, user_id="u1")["total"] == total and read(client, user_id="u2")["total"] == NOTHING


def test_a_cost_that_is_not_known_is_null(here: World, client: TestClient) -> None:
    use(here, "ada", "2026-11-01", Amounts(calls=1, unpriced=1))
    use(here, "ada", "2026-11-02")
    found = read(client, **NOVEMBER)
    assert [line["cost_usd"] for line in found["data"]] == [None, 0.123456789, 0]
    assert (found["total"]["cost_usd"], found["total"]["unpriced_calls"]) == (None, 1)


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ({"from": "2026-11-31"}, "from", "from must be a day like 2026-11-24"),
        ({"from": "20261124"}, "from", "from must be a day like 2026-11-24"),
        ({"to": "1764000000"}, "to", "to must be a day like 2026-11-24"),
        ({"to": "2026-11-24T00:00:00Z"}, "to", "to must be a day like 2026-11-24"),
        ({"from": "2026-11-02", "to": "2026-11-01"}, "from", "from is 2026-11-02, which is after 2026-11-01"),
        ({"from": "2025-01-01", "to": "2026-01-02"}, "from", "is more than 366 days; ask for fewer"),
        ({"group_by": "week"}, "group_by", "group_by must be 'day', 'user' or 'user_day'"),
        ({"format": "xml"}, "format", "format must be 'json' or 'csv'"),
        ({"user_id": ""}, "user_id", "user_id must not be empty"),
    ],
)
def test_what_is_wrong_is_named(client: TestClient, query: dict[str, str], field: str, message: str) -> None:
    answer = client.get(USAGE, params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field
    assert message in answer.json()["error"]["message"]


def test_a_leap_year_in_one_answer(client: TestClient) -> None:
    assert len(read(client, **{"from": "2028-01-01", "to": "2028-12-31"})["data"]) == 366


def test_more_lines_than_an_answer_holds(here: World, client: TestClient) -> None:
    users = [Meter("acme", user_id=f"user-{number}", period="2026-11-01") for number in range(10_001)]
    here.ledger.record("s1", "all", users, ONE)
    answer = client.get(USAGE, params={**NOVEMBER, "group_by": "user"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "from")
    assert "there are 10,001 lines; ask for fewer days" in answer.json()["error"]["message"]
    assert read(client, **NOVEMBER, group_by="user", user_id="user-7")["total"] == SHOWN


# ---- CSV ----


def test_csv_has_the_same_lines(used: World, client: TestClient) -> None:
    for group_by in ("day", "user", "user_day"):
        answer = client.get(USAGE, params={**NOVEMBER, "group_by": group_by, "format": "csv"})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        disposition = 'attachment; filename="usage-2026-11-01-2026-11-03.csv"'
        assert answer.headers["content-disposition"] == disposition
        lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        data = read(client, **NOVEMBER, group_by=group_by)["data"]
        assert lines == [{name: str(line[name]) for name in lines[0]} for line in data]
        assert set(lines[0]) == set(data[0])


def test_csv_by_what_is_accepted(used: World, client: TestClient) -> None:
    kinds = {
        "text/csv": "text/csv; charset=utf-8",
        "text/csv, */*;q=0.1": "text/csv; charset=utf-8",
        "application/json": "application/json",
        "application/json, text/csv;q=0.5": "application/json",
        "*/*": "application/json",
    }
    for accept, kind in kinds.items():
        answer = client.get(USAGE, headers={"Accept": accept})
        assert (answer.headers["content-type"], answer.headers["vary"]) == (kind, "Accept, Origin")
    answer = client.get(USAGE, params={"format": "json"}, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "application/json"


def test_a_cost_that_is_not_known_is_empty_in_csv(here: World, client: TestClient) -> None:
    use(here, "ada", "2026-11-01", Amounts(calls=1, unpriced=1))
    text = client.get(USAGE, params={**NOVEMBER, "group_by": "user", "format": "csv"}).text
    assert next(csv.DictReader(io.StringIO(text)))["cost_usd"] == ""


@pytest.mark.parametrize("user", ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", '=HYPERLINK("x")', "＝1"])  # noqa: RUF001
def test_no_user_id_is_a_formula(here: World, client: TestClient, user: str) -> None:
    use(here, user, "2026-11-01")
    query = {**NOVEMBER, "group_by": "user"}
    text = client.get(USAGE, params={**query, "format": "csv"}).text
    assert next(csv.DictReader(io.StringIO(text)))["user_id"] == f"'{user}"
    assert read(client, **query)["data"][0]["user_id"] == user


def test_commas_and_quotes_stay_in_their_cell(here: World, client: TestClient) -> None:
    use(here, 'a "b", c', "2026-11-01")
    text = client.get(USAGE, params={**NOVEMBER, "group_by": "user_day", "format": "csv"}).text
    assert [line["user_id"] for line in csv.DictReader(io.StringIO(text))] == ['a "b", c']


# ---- who may ----


def test_it_takes_an_accounts_key(used: World, keyless: TestClient, other: TestClient) -> None:
    assert keyless.get(USAGE).status_code == 401
    assert [line["user_id"] for line in read(other, **NOVEMBER, group_by="user")["data"]] == ["eve"]
