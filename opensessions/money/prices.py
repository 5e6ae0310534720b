"""What models cost: the one table of prices, and what a call comes to by it.

List prices of the Claude API in dollars per million tokens, at standard speed and without a region's
surcharge: platform.claude.com/docs/en/about-claude/pricing, read on 2026-11-24 as Claude Code 2.1.330 carries
them in its catalog of models. A cache write costs 1.25 times the input when it is kept for five minutes and
twice as much for an hour; a cache read a tenth, and less with some.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal
from typing import Any

from opensessions.money.ledger import Amounts


@dataclass(frozen=True, slots=True)
class Price:
    """Whole nanodollars for one token: a dollar for a million tokens is 1,000 of them. A call whose prompt
    has more than `long_above` tokens, in whatever classes, costs `long` from the first one on.
    """

    input: int
    output: int
    cache_read: int
    cache_write: int
    cache_write_1h: int
    long_above: int = 0
    long: "Price | None" = None

    def for_prompt(self, tokens: int) -> "Price":
        """The price of a call with so many tokens before its answer."""
        return self.long if self.long and tokens > self.long_above else self


def price(
    input: float | str,
    output: float | str,
    cache_read: float | str | None = None,
    cache_write: float | str | None = None,
    cache_write_1h: float | str | None = None,
) -> Price:
    """A price from dollars per million tokens; what is left out follows from the input's."""
    whole = _nanodollars(input)
    return Price(
        whole,
        _nanodollars(output),
        _nanodollars(Decimal(str(input)) / 10 if cache_read is None else cache_read),
        _nanodollars(Decimal(str(input)) * 5 / 4 if cache_write is None else cache_write),
        _nanodollars(Decimal(str(input)) * 2 if cache_write_1h is None else cache_write_1h),
    )


def _nanodollars(dollars_per_million: float | str | Decimal) -> int:
    return int((Decimal(str(dollars_per_million)) * 1000).to_integral_value(ROUND_UP))


def _haiku_5_5() -> Price:
    short, long = price("0.1", "0.5"), price("0.5", "2.5")
    return Price(
        short.input,
        short.output,
        short.cache_read,
        short.cache_write,
        short.cache_write_1h,
        long_above=100_000,
        long=long,
    )


CLAUDE: dict[str, Price] = {
    "claude-fable-5-2": price(8, 40, cache_read="0.2"),
    "claude-fable-5-1": price(10, 50, cache_read="0.25"),
    "claude-fable-5": price(10, 50),
    "claude-mythos-5-2": price(8, 40, cache_read="0.2"),
    "claude-mythos-5-1": price(10, 50, cache_read="0.25"),
    "claude-mythos-5": price(10, 50),
    "claude-opus-5-5": price(4, 20, cache_read="0.2"),
    "claude-opus-5": price(5, 25),
    "claude-opus-4-8": price(5, 25),
    "claude-opus-4-7": price(5, 25),
    "claude-opus-4-6": price(5, 25),
    "claude-opus-4-5": price(5, 25),
    "claude-opus-4-1": price(15, 75),
    "claude-opus-4-0": price(15, 75),
    "claude-opus-4": price(15, 75),
    "claude-sonnet-5-5": price(2, 10, cache_read="0.1"),
    "claude-sonnet-5": price(2, 10),
    "claude-sonnet-4-6": price(3, 15),
    "claude-sonnet-4-5": price(3, 15),
    "claude-sonnet-4-0": price(3, 15),
    "claude-sonnet-4": price(3, 15),
    "claude-3-7-sonnet": price(3, 15),
    "claude-haiku-5-5": _haiku_5_5(),
    "claude-haiku-4-5": price(1, 5),
    "claude-3-5-haiku": price("0.8", 4),
}
DEMO = {"demo": price(0, 0)}
"""The demo model, where nobody asked it to play another."""

# What says by which way a model is reached, or which build of it, and nothing about its price.
_WAY = re.compile(r".*anthropic[./]")
_BUILD = re.compile(r"(-\d{8}|-latest|-v\d+(:\d+)?|@[a-z0-9]+|\[[a-z0-9]+\])+$")

_CLASSES = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def own(text: str) -> dict[str, Price]:
    """Prices as an operator writes them: a JSON object of models, each with `input` and `output` in dollars
    per million tokens and, if they do not follow from the input's, `cache_read`, `cache_write` and
    `cache_write_1h`. Raises ValueError with what it must be.
    """
    try:
        read = json.loads(text)
        return {
            name: price(**{part: dollars(each) for part, each in of.items()}) for name, of in read.items()
        }
    except (ValueError, TypeError, AttributeError, RecursionError):
        reason = 'must be JSON like {"my-model": {"input": 3, "output": 15}}, in dollars per million tokens.'
        raise ValueError(reason) from None


def dollars(value: str | float) -> float:
    """An amount of money as an operator writes it. Raises ValueError with what it must be."""
    try:
        amount = float(value)
    except (ValueError, OverflowError):
        amount = -1.0
    if not 0 <= amount <= 1_000_000 or isinstance(value, bool):
        raise ValueError("must be an amount in dollars, from 0 to 1,000,000.")
    return amount


class Prices:
    """The table, and what an operator has added to it or put in its place, by a model's name."""

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self._table = {**CLAUDE, **DEMO, **(own or {})}

    def of(self, model: str) -> Price | None:
        """The price of a model, by its whole name, or by what is left without the way that it is reached
        (as Bedrock's names tell it) and without its date. None: not known. A newer model of a family that is
        known is not known.
        """
        name = _BUILD.sub("", _WAY.sub("", model))
        return self._table.get(model) or self._table.get(name)

    def known(self, *models: str) -> str:
        """The first of them that has a price, or else the first."""
        return next((model for model in models if self.of(model)), models[0])

    def worst(self, model: str, input_tokens: int, max_tokens: int, fallbacks: Sequence[str] = ()) -> Amounts:
        """What a call can use at most: all of its prompt written to the cache for an hour, and that again for
        each of `fallbacks`, the models that answer in the place of one that declines.
        """
        each = (self._worst(name, input_tokens, max_tokens) for name in (model, *fallbacks))
        return sum(each, Amounts()).model_copy(update={"calls": 1})

    def priced(self, model: str, usage: Mapping[str, Any]) -> Amounts:
        """What a call used and cost, by the `usage` of the Messages API's answer to it: the attempt that
        answered, and those beside it that are billed too, at the prices of the models that made them.
        """
        each = [self._attempt(model, usage)]
        each += (self._attempt(_text(beside.get("model")) or model, beside) for beside in _beside(usage))
        used = sum(each, Amounts())
        return used.model_copy(update={"calls": 1, "unpriced": min(1, used.unpriced)})

    def _attempt(self, model: str, usage: Mapping[str, Any]) -> Amounts:
        fresh, read, written, output = (_count(usage.get(name)) for name in _CLASSES)
        for_an_hour = min(written, _written_for_an_hour(usage))
        used = Amounts(
            input_tokens=fresh,
            output_tokens=output,
            cache_read_tokens=read,
            cache_write_tokens=written - for_an_hour,
            cache_write_1h_tokens=for_an_hour,
        )
        if (known := self.of(model)) is None:
            return used.model_copy(update={"unpriced": 1})
        return used.model_copy(update={"nanodollars": _cost(known.for_prompt(fresh + read + written), used)})

    def _worst(self, model: str, input_tokens: int, max_tokens: int) -> Amounts:
        used = Amounts(input_tokens=input_tokens, output_tokens=max_tokens)
        if (known := self.of(model)) is None:
            return used.model_copy(update={"unpriced": 1})
        each = known.for_prompt(input_tokens)
        dearest = max(each.input, each.cache_write, each.cache_write_1h, each.cache_read)
        cost = dearest * input_tokens + each.output * max_tokens
        return used.model_copy(update={"nanodollars": cost})


def _cost(each: Price, used: Amounts) -> int:
    prompt = each.input * used.input_tokens + each.cache_read * used.cache_read_tokens
    kept = each.cache_write * used.cache_write_tokens + each.cache_write_1h * used.cache_write_1h_tokens
    return prompt + kept + each.output * used.output_tokens


def _beside(usage: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What `usage` itself leaves out: a model that wrote and then declined, and what was sampled to shorten
    the prompt.
    """
    listed = usage.get("iterations")
    each = [attempt for attempt in listed if isinstance(attempt, Mapping)] if isinstance(listed, list) else []
    fell = any(attempt.get("type") == "fallback_message" for attempt in each)
    return [attempt for attempt in each if _billed_beside(attempt, fell)]


def _billed_beside(attempt: Mapping[str, Any], fell: bool) -> bool:
    if attempt.get("type") == "message":
        return fell and _count(attempt.get("output_tokens")) > 0
    return attempt.get("type") != "fallback_message"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _written_for_an_hour(usage: Mapping[str, Any]) -> int:
    by_time = usage.get("cache_creation")
    return _count(by_time.get("ephemeral_1h_input_tokens")) if isinstance(by_time, Mapping) else 0


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
