"""The variables that the stack sets are those that the code reads, by the code's own reading of them."""

from typing import Any

import pytest

from opensessions.aws import gateway_settings, settings
from tests.infra.roles import shown
from tests.infra.stacks import ROOT, Template, properties, template

pytestmark = pytest.mark.infra

LAUNCHING = ("api", "task_state", "sweep")
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "LOG_LEVEL"}


def _of_function(made: Template, name: str) -> dict[str, str]:
    [function] = [
        f for f in properties(made, "AWS::Lambda::Function") if f["Handler"] == f"functions.{name}.handler"
    ]
    return {key: shown(value) for key, value in function["Environment"]["Variables"].items()}


def _of_gateway(made: Template) -> dict[str, str]:
    [container] = [
        container
        for task in properties(made, "AWS::ECS::TaskDefinition")
        for container in task["ContainerDefinitions"]
        if container["Name"] == "gateway"
    ]
    variables = {variable["Name"]: shown(variable["Value"]) for variable in container["Environment"]}
    return {**variables, "AWS_REGION": "us-east-1"}


@pytest.mark.parametrize("name", ["api", "callback", "task_state", "deliver", "sweep"])
def test_a_function_can_read_its_settings(name: str) -> None:
    variables = _of_function(template(previews="domain"), name)
    storage = settings.storage(variables)
    assert storage.table == "<Table>"
    assert storage.preview("sb-1", 5173) == "https://sb-1-p5173.previews.example.net"
    assert settings.tasks_queue(variables) == "<FunctionsTasks>"
    assert settings.deliveries_queue(variables) == "<FunctionsDeliveries>"
    if name in LAUNCHING:
        assert settings.cluster(variables).task_definition.endswith("opensessionsSandboxTask57DF64AB")


def test_the_functions_read_what_accounts_may_do_and_what_models_cost() -> None:
    own = '{"mine": {"input": 3, "output": 15}}'
    made = template(quota_live=5, quota_creates=6, quota_day_cost_usd=7, model_prices=own)
    for name in ("api", "callback", "task_state", "sweep"):
        variables = _of_function(made, name)
        assert settings.quotas(variables) == settings.Quotas(5, 6, 7.0)
        assert settings.model_prices(variables)["mine"].output == 15_000
    assert settings.quotas(_of_function(template(), "api")) == settings.Quotas(10, 60, None)


def test_the_api_knows_which_models_there_are_and_where_accounts_keys_lie() -> None:
    variables = _of_function(template(models="big,small"), "api")
    assert settings.models(variables) == {"big", "small"}
    assert settings.model_keys(variables) == "opensessions/model-keys/"
    variables = _of_function(template(model="bedrock"), "api")
    assert settings.models(variables) is settings.model_keys(variables) is None
    assert settings.model_keys(_of_function(template(), "callback")) is None


def test_the_functions_that_launch_know_the_pool_and_what_it_is_to_run() -> None:
    for name in LAUNCHING:
        warm = settings.warm_pool(_of_function(template(warm_pool=3), name))
        assert warm == settings.WarmPool(3, "<SandboxTask>"), "the revision: another one for another image"
    assert settings.warm_pool(_of_function(template(), "api")).size == 0


@pytest.mark.parametrize(("network", "public", "zones"), [("isolated", False, 1), ("open", True, 2)])
def test_sandboxes_are_put_where_the_network_has_a_place_for_them(
    network: str, public: bool, zones: int
) -> None:
    place = settings.cluster(_of_function(template(network=network), "api"))
    assert place.public_ip is public
    assert len(place.subnets) == zones
    kind = "public" if public else "private"
    assert all(subnet.startswith(f"<NetworkVpc{kind}Subnet") for subnet in place.subnets), place.subnets


@pytest.mark.parametrize(
    "context",
    [
        {"previews": "domain"},
        {"previews": "trial"},
        {"previews": "off", "model": "bedrock"},
        {"network": "open"},
        {"egress_allow": "example.com,*.example.net"},
        {"egress_allow": ""},
        {"model": "https://models.example.com/v2", "models": "big,small"},
    ],
    ids=str,
)
def test_the_gateway_can_read_its_settings(context: dict[str, Any]) -> None:
    read = gateway_settings.from_environment(_of_gateway(template(**context)))
    assert read.previews == context.get("previews", "trial")
    model = context.get("model", "anthropic")
    url = model if model.startswith("https:") else None
    assert (read.model, read.model_url) == ("anthropic" if url else model, url)
    assert read.model_keys == (None if model == "bedrock" else "opensessions/model-keys/")
    assert read.models == (frozenset({"big", "small"}) if url else None)
    assert bool(read.resolvers) == (context.get("network") != "open"), "its own resolver is closed"
    allowed = context.get("egress_allow")
    assert read.egress_allow == (None if allowed is None else tuple(filter(None, allowed.split(","))))
    assert len(read.own_names) >= 3
    assert [str(network) for network in read.own_networks] == ["10.42.0.0/16"]


def test_no_variable_is_set_that_nobody_reads() -> None:
    made = template(egress_allow="example.com")
    names = set(_of_gateway(made)) - {"AWS_REGION"}
    for function in ("api", "callback", "task_state", "sweep"):
        names |= set(_of_function(made, function))
    code = "".join(path.read_text() for path in (ROOT / "opensessions/aws").glob("*.py"))
    assert {name for name in names - POWERTOOLS if f'"{name}"' not in code} == set()
