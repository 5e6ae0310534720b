"""What an operator may decide, and what is said when it cannot be."""

import json
from typing import Any

import pytest

from infra.context import Context, ContextError, read


def made(**context: Any) -> Context:
    return read(context.get)


def refused(**context: Any) -> str:
    with pytest.raises(ContextError) as refusal:
        made(**context)
    return str(refusal.value)


def test_nothing_needs_to_be_decided() -> None:
    context = made()
    assert (context.stack, context.network, context.previews) == ("opensessions", "isolated", "trial")
    assert (context.size, context.images, context.model) == ("small", "build", "anthropic")
    assert context.egress_allow is None
    assert context.retention_days is None


def test_a_preview_domain_is_meant_to_be_used() -> None:
    assert made(preview_domain="previews.example.net", preview_zone_id="Z1").previews == "domain"


@pytest.mark.parametrize(
    ("key", "legal"),
    [
        ("network", "isolated or open"),
        ("previews", "domain or off or trial"),
        ("size", "small or standard"),
        ("model", "anthropic, bedrock, or the address of a server"),
        ("images", "build, asset, or a URI"),
        ("domain", "a domain like"),
        ("preview_domain", "a domain like"),
        ("hosted_zone_id", "the id of a Route 53 zone"),
        ("preview_zone_id", "the id of a Route 53 zone"),
        ("table_name", "the name of a DynamoDB table"),
        ("retention_days", "a whole number from 1 on"),
        ("daily_cost_usd", "a whole number from 1 on"),
        ("warm_pool", "a whole number from 0 to 100"),
        ("alarm_email", "an e-mail address"),
        ("egress_allow", "hosts like"),
        ("stack", "letters, digits"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_legal(key: str, legal: str) -> None:
    sentence = refused(**{key: "?!"})
    assert sentence.startswith(f"{key} must be {legal}")
    assert sentence.endswith("not '?!'.")


def test_a_server_of_ones_own_can_be_the_model() -> None:
    context = made(model="https://models.example.com:8443/claude")
    assert (context.model, context.model_url) == ("anthropic", "https://models.example.com:8443/claude")
    assert context.model_keys == "opensessions/model-keys/"
    for wrong in ("http://models.example.com", "https://user:pass@example.com", "https://a.example/?x=1"):
        assert "https://models.example.com" in refused(model=wrong)
    assert made(model="bedrock").model_keys is None
    assert made(models="big,small").bounds == {"MODELS": "big,small"}


def test_a_warm_pool_is_small_and_none_by_itself() -> None:
    assert refused(warm_pool=101).endswith("from 0 to 100, not '101'.")
    assert made().warm_pool == made(warm_pool=0).warm_pool == 0
    assert made(warm_pool="3").warm_pool == 3


def test_no_list_of_hosts_where_it_would_not_hold() -> None:
    assert refused(network="open", egress_allow="example.com").startswith(
        "egress_allow needs network=isolated"
    )
    assert refused(network="open", egress_allow="").startswith("egress_allow needs network=isolated")
    assert made(egress_allow="example.com,*.example.net").egress_allow == "example.com,*.example.net"
    assert made(egress_allow="").egress_allow == ""


def test_what_accounts_may_do_and_what_models_cost() -> None:
    assert made().bounds == {}
    own = {"mine": {"input": 3, "output": 15}}
    bounds = made(quota_live=5, quota_day_cost_usd="0", model_prices=own).bounds
    assert bounds == {"QUOTA_LIVE": "5", "QUOTA_DAY_COST_USD": "0", "MODEL_PRICES": json.dumps(own)}
    assert made(model_prices=json.dumps(own)).bounds == {"MODEL_PRICES": json.dumps(own)}
    assert refused(model_prices="3").startswith("model_prices must be JSON like")
    assert refused(quota_live=0).startswith("quota_live must be a whole number from 1 on")


def test_models_and_the_key_in_the_query() -> None:
    assert (made().models, made().query_key) == (None, False)
    assert made(models="claude-a,claude-b").models == "claude-a,claude-b"
    assert made(query_key="yes").query_key
    assert refused(query_key="1").startswith("query_key")


def test_previews_by_name_need_a_zone() -> None:
    assert "preview_domain" in refused(previews="domain")
    assert "hosted_zone_id" in refused(previews="domain", preview_domain="previews.example.net")


def test_the_api_by_name_needs_a_zone() -> None:
    assert "hosted_zone_id" in refused(domain="api.example.com")


def test_previews_do_not_share_the_products_domain() -> None:
    told = refused(domain="api.example.com", preview_domain="previews.example.com", hosted_zone_id="Z1")
    assert told.startswith("preview_domain must not lie under example.com")
    made(domain="api.example.co.uk", preview_domain="previews.example-apps.co.uk", hosted_zone_id="Z1")


@pytest.mark.parametrize(
    "images",
    [
        "build",
        "asset",
        "123456789012.dkr.ecr.eu-central-1.amazonaws.com/opensessions:1.0",
        "registry.example.com:5000/team/opensessions",
    ],
)
def test_images_come_in_three_ways(images: str) -> None:
    assert made(images=images).images == images
