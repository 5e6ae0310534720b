"""What a gateway task makes of its environment."""

from ipaddress import ip_network

import pytest

from opensessions.aws.gateway_settings import GatewaySettings, from_environment
from opensessions.aws.settings import SettingsError

GIVEN = {
    "TABLE_NAME": "t",
    "BUCKET_NAME": "b",
    "PREVIEW_URL": "https://{sandbox}-p{port}.previews.test",
    "AWS_REGION": "eu-west-1",
    "CALLBACK_FUNCTION": "callback",
    "MASTER_KEY_SECRET": "master",
    "MODEL": "anthropic",
    "MODEL_SECRET": "model",
    "PREVIEWS": "domain",
}


def read(**more: str) -> GatewaySettings:
    return from_environment(GIVEN | more)


def test_what_is_not_said() -> None:
    settings = read()
    assert (settings.ports.public, settings.ports.sandbox, settings.ports.egress) == (8000, 8001, 8002)
    assert (settings.bind_host, settings.door_port, settings.peers) == ("0.0.0.0", 7070, ())
    unsaid = [settings.models, settings.egress_allow, settings.model_url, settings.ecs_agent]
    assert unsaid == [None] * 4
    assert settings.allow_query_key is False


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("https://{sandbox}-p{port}.previews.test", "previews.test"),
        ("https://d1.cloudfront.test/~/{sandbox}-p{port}/", "d1.cloudfront.test"),
        ("", ""),
    ],
)
def test_the_preview_domain_is_read_from_the_address_and_out_of_a_sandboxes_reach(
    url: str, domain: str
) -> None:
    settings = read(PREVIEW_URL=url, API_NAMES="Api.Test")
    assert settings.preview_domain == domain
    assert set(settings.own_names) == {"api.test", "opensessions.internal"} | ({domain} - {""})


def test_lists() -> None:
    settings = read(MODELS="a, b", EGRESS_ALLOW="", VPC_CIDR="10.0.0.0/16,fd00::/8", PEERS="g.internal")
    assert settings.models == frozenset("ab") and settings.egress_allow == ()
    assert settings.own_networks == (ip_network("10.0.0.0/16"), ip_network("fd00::/8"))


def test_bedrock_needs_no_secret() -> None:
    given = {name: value for name, value in GIVEN.items() if name != "MODEL_SECRET"}
    assert from_environment(given | {"MODEL": "bedrock"}).model_secret is None
    with pytest.raises(SettingsError, match="MODEL_SECRET is not set"):
        from_environment(given)


@pytest.mark.parametrize(
    ("name", "value"),
    [("PREVIEWS", "on"), ("MODEL", "gpt"), ("VPC_CIDR", "10.0.0.1/16"), ("PORT", "x"), ("DOOR_PORT", "-1")],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read(**{name: value})
