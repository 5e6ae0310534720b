"""The functions' environment: read once, and refused by name."""

import pytest

from opensessions.aws import settings
from opensessions.aws.settings import Cluster, Quotas, SettingsError

PLACING = {
    "CLUSTER": "c",
    "SANDBOX_TASK_DEFINITION": "sandbox",
    "SANDBOX_SUBNETS": "s1,s2",
    "SANDBOX_SECURITY_GROUP": "sg",
    "SANDBOX_PUBLIC_IP": "DISABLED",
}


def test_what_is_set_is_read() -> None:
    assert settings.cluster(PLACING) == Cluster("c", "sandbox", ("s1", "s2"), "sg", False)
    assert settings.tasks_queue({"TASKS_QUEUE_URL": "https://sqs"}) == "https://sqs"
    assert settings.retention_days({}) == 0
    assert settings.quotas({"QUOTA_LIVE": "3"}) == Quotas(live=3, creates=60)
    storage = settings.storage(
        {"TABLE_NAME": "t", "BUCKET_NAME": "b", "PREVIEW_URL": "https://{sandbox}-p{port}.p.test"}
    )
    assert storage.preview("sb-1", 5173) == "https://sb-1-p5173.p.test"
    assert settings.storage({"TABLE_NAME": "t", "BUCKET_NAME": "b"}).preview("sb-1") == ""


@pytest.mark.parametrize("name", PLACING)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings.cluster({**PLACING, name: ""})


@pytest.mark.parametrize("name", ["TABLE_NAME", "BUCKET_NAME"])
def test_a_table_and_a_bucket_are_needed(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        settings.storage({"TABLE_NAME": "t", "BUCKET_NAME": "b", name: ""})


def test_the_queue_is_needed_by_those_who_put_off() -> None:
    with pytest.raises(SettingsError, match="TASKS_QUEUE_URL"):
        settings.tasks_queue({})


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "²"])
def test_a_quota_is_a_number(value: str) -> None:
    with pytest.raises(SettingsError, match="QUOTA_LIVE"):
        settings.quotas({"QUOTA_LIVE": value})


@pytest.mark.parametrize("value", ["much", "-1", "nan"])
def test_what_a_day_may_cost_is_an_amount(value: str) -> None:
    assert settings.quotas({"QUOTA_DAY_COST_USD": "2.5"}).day_cost_usd == 2.5
    with pytest.raises(SettingsError, match="QUOTA_DAY_COST_USD must be an amount"):
        settings.quotas({"QUOTA_DAY_COST_USD": value})


def test_prices_are_added_or_refused() -> None:
    assert settings.model_prices({}) == {}
    assert [*settings.model_prices({"MODEL_PRICES": '{"mine": {"input": 3, "output": 15}}'})] == ["mine"]
    with pytest.raises(SettingsError, match="MODEL_PRICES must be JSON like"):
        settings.model_prices({"MODEL_PRICES": "mine"})


def test_an_address_of_a_sandbox_is_public_or_not() -> None:
    assert settings.cluster({**PLACING, "SANDBOX_PUBLIC_IP": "ENABLED"}).public_ip
    with pytest.raises(SettingsError, match="SANDBOX_PUBLIC_IP"):
        settings.cluster({**PLACING, "SANDBOX_PUBLIC_IP": "yes"})
