"""What `make run` reads from its environment."""

from pathlib import Path

import pytest

from opensessions.local.settings import SettingsError, from_environment
from opensessions.money.prices import price


def test_nothing_set_is_the_demo_model_and_no_bounds() -> None:
    settings = from_environment({"HOME": "/home/somebody"})
    assert settings.demo and settings.port == 8000
    assert settings.data_dir == Path("/home/somebody/.local/share/opensessions")
    assert settings.models is settings.egress_allow is settings.api_key is None


def test_prices_and_what_a_day_may_cost() -> None:
    own = '{"mine": {"input": 3, "output": 15, "cache_read": 0}}'
    settings = from_environment({"OPENSESSIONS_MODEL_PRICES": own, "OPENSESSIONS_DAY_COST_USD": "2.5"})
    assert settings.model_prices == {"mine": price(3, 15, cache_read=0)} and settings.day_cost_usd == 2.5
    nothing = from_environment({"OPENSESSIONS_MODEL_PRICES": ""})
    assert nothing.model_prices == {} and nothing.day_cost_usd is None


@pytest.mark.parametrize(
    ("value", "models"),
    [("a", {"a"}), (" a, b ,,a", {"a", "b"}), ("", None), (" , ", None)],
)
def test_models_are_a_list_with_commas_and_an_empty_one_is_no_bound(
    value: str, models: set[str] | None
) -> None:
    assert from_environment({"OPENSESSIONS_MODELS": value}).models == models


@pytest.mark.parametrize(("value", "hosts"), [("", ()), ("a.test, .b.test,", ("a.test", ".b.test"))])
def test_an_empty_list_of_hosts_is_a_list(value: str, hosts: tuple[str, ...]) -> None:
    assert from_environment({"OPENSESSIONS_EGRESS_ALLOW": value}).egress_allow == hosts


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("OPENSESSIONS_API_KEY", "short"),
        ("OPENSESSIONS_PREVIEW_DOMAIN", "localhost"),
        ("OPENSESSIONS_MODEL_URL", "model.test"),
        ("OPENSESSIONS_MODEL_PRICES", "3"),
        ("OPENSESSIONS_MODEL_PRICES", '{"a": {"input": 1}}'),
        ("OPENSESSIONS_DAY_COST_USD", "-1"),
        ("OPENSESSIONS_DAY_COST_USD", "nan"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        from_environment({name: value})
