"""A call that took several attempts costs all of those that are billed, each at its own model's price."""

from typing import Any

import pytest

from opensessions.money.prices import Prices

USED = {"input_tokens": 400, "output_tokens": 200}
ANSWERED = {"type": "fallback_message", "model": "claude-opus-4-8", **USED}
IN_OPUS = 400 * 5_000 + 200 * 25_000


def attempt(kind: str, output: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": 500, "output_tokens": output, **more}


@pytest.mark.parametrize(
    ("iterations", "cost", "tokens"),
    [
        (None, IN_OPUS, 600),
        ([attempt("message", 200)], IN_OPUS, 600),
        ([attempt("message", 0, model="claude-fable-5"), ANSWERED], IN_OPUS, 600),
        (
            [attempt("message", 9, model="claude-fable-5"), ANSWERED],
            IN_OPUS + 500 * 10_000 + 9 * 50_000,
            1109,
        ),
        ([attempt("compaction", 7), attempt("message", 200)], IN_OPUS + 500 * 5_000 + 7 * 25_000, 1107),
        (["odd", 7, None], IN_OPUS, 600),
        ("odd", IN_OPUS, 600),
    ],
)
def test_attempts_beside_the_one_that_answered(iterations: Any, cost: int, tokens: int) -> None:
    used = Prices().priced("claude-opus-4-8", {**USED, "iterations": iterations})
    assert (used.calls, used.nanodollars, used.tokens, used.unpriced) == (1, cost, tokens, 0)


def test_an_attempt_of_a_model_without_a_price_makes_the_call_one() -> None:
    beside = [attempt("message", 1, model="who"), attempt("message", 1, model="what"), ANSWERED]
    used = Prices().priced("claude-opus-4-8", {**USED, "iterations": beside})
    assert (used.unpriced, used.cost_usd) == (1, None)
