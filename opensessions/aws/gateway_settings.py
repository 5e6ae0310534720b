"""What a gateway task reads from its environment, which `infra/gateway.py` writes."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from opensessions.aws.settings import SettingsError, Storage, model_keys, models, number, required, storage

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the task listens: to the load balancer, to sandboxes and peers, to sandboxes on their way out."""

    public: int
    sandbox: int
    egress: int


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`model_secret` is None where Bedrock answers; `model_url` None means the provider's own. Secrets with
    accounts' own keys begin with `model_keys`; None: there are none. `egress_allow` None is any public host,
    `models` None any model, `resolvers` none: the network's own. `peers` are `host[:port]`, each a name of
    one or more gateways.
    """

    storage: Storage
    ports: Ports
    bind_host: str
    region: str
    callback_function: str
    master_key_secret: str
    model: Literal["anthropic", "bedrock"]
    model_secret: str | None
    model_url: str | None
    model_keys: str | None
    models: frozenset[str] | None
    egress_allow: tuple[str, ...] | None
    own_names: tuple[str, ...]
    own_networks: tuple[Network, ...]
    resolvers: tuple[str, ...]
    previews: Literal["domain", "trial", "off"]
    preview_domain: str
    allow_query_key: bool
    peers: tuple[str, ...]
    door_port: int
    ecs_agent: str | None


def from_environment(environment: Mapping[str, str] = os.environ) -> GatewaySettings:
    """Raises SettingsError with the name of the variable that is missing or wrong."""
    where, previews = storage(environment), _one_of(environment, "PREVIEWS", "domain", "trial", "off")
    model = _one_of(environment, "MODEL", "anthropic", "bedrock")
    hosts = _names(environment.get("API_NAMES", "").lower()) or ()
    return GatewaySettings(
        storage=where,
        ports=_ports(environment),
        bind_host=environment.get("BIND_HOST", "0.0.0.0"),
        region=environment.get("AWS_REGION") or required(environment, "AWS_DEFAULT_REGION"),
        callback_function=required(environment, "CALLBACK_FUNCTION"),
        master_key_secret=required(environment, "MASTER_KEY_SECRET"),
        model="bedrock" if model == "bedrock" else "anthropic",
        model_secret=required(environment, "MODEL_SECRET") if model == "anthropic" else None,
        model_url=environment.get("MODEL_URL") or None,
        model_keys=model_keys(environment),
        models=models(environment),
        egress_allow=_names(environment.get("EGRESS_ALLOW")),
        own_names=tuple(filter(None, (*hosts, _preview_host(where.preview_url), "opensessions.internal"))),
        own_networks=_networks(environment),
        resolvers=_names(environment.get("DNS_SERVERS")) or (),
        previews="domain" if previews == "domain" else "trial" if previews == "trial" else "off",
        preview_domain=_preview_host(where.preview_url),
        allow_query_key=environment.get("ALLOW_QUERY_KEY", "0") == "1",
        peers=_names(environment.get("PEERS")) or (),
        door_port=number(environment, "DOOR_PORT", 7070),
        ecs_agent=environment.get("ECS_AGENT_URI") or None,
    )


def _ports(environment: Mapping[str, str]) -> Ports:
    return Ports(
        public=number(environment, "PORT", 8000),
        sandbox=number(environment, "SANDBOX_PORT", 8001),
        egress=number(environment, "EGRESS_PORT", 8002),
    )


def _preview_host(url: str) -> str:
    """The domain under which previews are: what follows the sandbox's own label, or the one name."""
    host = url.partition("//")[2].partition("/")[0]
    return host.partition(".")[2] if host.startswith("{sandbox}") else host


def _networks(environment: Mapping[str, str]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(name) for name in _names(environment.get("VPC_CIDR")) or ())
    except ValueError as error:
        raise SettingsError(f"VPC_CIDR: {error}; it must be a network like 10.0.0.0/16.") from None


def _names(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


def _one_of(environment: Mapping[str, str], name: str, *values: str) -> str:
    if (value := required(environment, name)) not in values:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(values)}.")
    return value
