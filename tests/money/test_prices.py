"""What calls cost, to the billionth of a dollar."""

from typing import Any

import pytest

from opensessions.money import prices
from opensessions.money.ledger import NANO
from opensessions.money.prices import CLAUDE, Prices, price

MILLION = 1_000_000
TABLE = Prices({"mine": price(2, 4), "mine-cached": price("0.015", 1, cache_read=0)})


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        ("claude-sonnet-4-5", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
        ("claude-3-5-haiku-latest", "claude-3-5-haiku"),
        ("claude-opus-5-5[1m]", "claude-opus-5-5"),
        ("claude-opus-4-5@20251101", "claude-opus-4-5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
        ("anthropic/claude-fable-5-1", "claude-fable-5-1"),
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-sonnet-5", "claude-sonnet-5"),
    ],
)
def test_a_model_is_known_by_whatever_way_it_is_reached(name: str, known_as: str) -> None:
    assert TABLE.of(name) == CLAUDE[known_as]


@pytest.mark.parametrize(
    "name", ["", "claude", "claude-opus-5-9", "claude-opus-55", "gpt-claude-opus-5", "claude-opus-5-5-fast"]
)
def test_a_model_that_is_only_like_a_known_one_is_not_known(name: str) -> None:
    assert TABLE.of(name) is None
    assert TABLE.worst(name, 5, 5).cost_usd is None
    assert TABLE.priced(name, {"input_tokens": 5}).cost_usd is None


def test_the_demo_model_costs_nothing_and_is_known() -> None:
    assert TABLE.priced("demo", {"input_tokens": MILLION, "output_tokens": MILLION}).cost_usd == 0


USAGE: dict[str, Any] = {
    "input_tokens": 100,
    "output_tokens": 200,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 500,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
}


def test_every_class_of_tokens_has_its_price() -> None:
    used = TABLE.priced("claude-sonnet-4-5", USAGE)
    assert (used.input_tokens, used.output_tokens, used.cache_read_tokens) == (100, 200, 1000)
    assert (used.cache_write_tokens, used.cache_write_1h_tokens, used.calls) == (300, 200, 1)
    in_millionths = 100 * 3 + 200 * 15 + 1000 * 0.3 + 300 * 3.75 + 200 * 6
    assert used.nanodollars == in_millionths * 1000


def test_caches_cost_what_follows_from_the_input_unless_told_otherwise() -> None:
    assert TABLE.of("mine") == price(2, 4, cache_read="0.2", cache_write="2.5", cache_write_1h=4)
    assert TABLE.of("mine-cached") == price("0.015", 1, 0, "0.01875", "0.03")
    cached = TABLE.of("mine-cached")
    assert cached and (cached.input, cached.cache_write, cached.cache_read) == (15, 19, 0)  # rounded up


def test_a_long_prompt_costs_more_from_its_first_token_on() -> None:
    short = TABLE.priced("claude-haiku-5-5", {"input_tokens": 40_000, "cache_read_input_tokens": 60_000})
    long = TABLE.priced("claude-haiku-5-5", {"input_tokens": 40_001, "cache_read_input_tokens": 60_000})
    assert short.nanodollars == 40_000 * 100 + 60_000 * 10
    assert long.nanodollars == 40_001 * 500 + 60_000 * 50


@pytest.mark.parametrize("name", CLAUDE)
def test_nothing_that_a_call_can_use_costs_more_than_its_worst(name: str) -> None:
    for prompt in (1000, 100_000, 150_000):
        worst = TABLE.worst(name, prompt, 1000)
        for part in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
            for_an_hour = {"ephemeral_1h_input_tokens": prompt}
            used = {part: prompt, "output_tokens": 1000, "cache_creation": for_an_hour}
            assert TABLE.priced(name, used).nanodollars <= worst.nanodollars
        assert worst.tokens == prompt + 1000


def test_fallbacks_are_set_aside_for_too() -> None:
    one, other = TABLE.worst("mine", 10, 20), TABLE.worst("claude-opus-5", 10, 20)
    both = TABLE.worst("mine", 10, 20, ["claude-opus-5"])
    assert both.nanodollars == one.nanodollars + other.nanodollars
    assert (both.calls, both.tokens) == (1, 60)
    assert TABLE.worst("mine", 10, 20, ["unknown"]).cost_usd is None


def test_an_operator_s_prices_come_first() -> None:
    own = prices.own('{"claude-opus-5": {"input": 1, "output": 2}, "llama": {"input": 0, "output": 0}}')
    table = Prices(own)
    assert table.priced("claude-opus-5", {"input_tokens": MILLION}).nanodollars == NANO
    assert table.priced("anthropic.claude-opus-5-v1:0", {"input_tokens": MILLION}).nanodollars == NANO
    assert table.priced("llama", {"input_tokens": MILLION}).cost_usd == 0
    assert table.of("claude-opus-4-8") == CLAUDE["claude-opus-4-8"]


@pytest.mark.parametrize(
    "text",
    ["x", "[]", '{"a": 1}', '{"a": {"input": 1}}', '{"a": {"input": -1, "output": 1}}',
     '{"a": {"input": NaN, "output": 1}}', '{"a": {"input": true, "output": 1}}',
     '{"a": {"input": 1, "output": 1, "other": 1}}', '{"a": {"input": "1e99", "output": 1}}'],
)  # fmt: skip
def test_prices_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be JSON like"):
        prices.own(text)
