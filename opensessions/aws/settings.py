"""What the functions read from their environment, which `infra/` writes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from opensessions.money import prices
from opensessions.money.prices import Price


class SettingsError(Exception):
    """A variable is missing or wrong; the text names it."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Where sessions are, and how a port's public address is spelled, with `{sandbox}` and `{port}` in it."""

    table: str
    bucket: str
    preview_url: str

    def preview(self, sandbox_id: str, port: int | str = 3000) -> str:
        """The public address of a sandbox's port; empty where previews are off."""
        return self.preview_url.replace("{sandbox}", sandbox_id).replace("{port}", str(port))

    @property
    def previews_apart(self) -> bool:
        """Whether each preview has a name of its own, or there are none."""
        host = self._preview_host
        return not host or "{sandbox}" in host

    @property
    def preview_names(self) -> tuple[str, ...]:
        """The name at which previews are, or below which."""
        host = self._preview_host
        name = host.partition(".")[2] if "{sandbox}" in host else host
        return (name,) if name else ()

    @property
    def _preview_host(self) -> str:
        return self.preview_url.partition("//")[2].partition("/")[0]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where sandboxes run. `task_definition` is a family or an ARN."""

    cluster: str
    task_definition: str
    subnets: tuple[str, ...]
    security_group: str
    public_ip: bool


@dataclass(frozen=True, slots=True)
class WarmPool:
    """How many sandboxes wait for a session, and what they are to run, as far as it can be told by a name."""

    size: int
    revision: str


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one account may do: sandboxes at once, new sessions a minute, dollars for models a day (None: any
    sum).
    """

    live: int
    creates: int
    day_cost_usd: float | None = None


def storage(environment: Mapping[str, str] = os.environ) -> Storage:
    """Raises SettingsError."""
    return Storage(
        table=required(environment, "TABLE_NAME"),
        bucket=required(environment, "BUCKET_NAME"),
        preview_url=environment.get("PREVIEW_URL", ""),
    )


def cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """For functions that launch. Raises SettingsError."""
    return Cluster(
        cluster=required(environment, "CLUSTER"),
        task_definition=required(environment, "SANDBOX_TASK_DEFINITION"),
        subnets=tuple(required(environment, "SANDBOX_SUBNETS").split(",")),
        security_group=required(environment, "SANDBOX_SECURITY_GROUP"),
        public_ip=one_of(environment, "SANDBOX_PUBLIC_IP", "ENABLED", "DISABLED") == "ENABLED",
    )


def tasks_queue(environment: Mapping[str, str] = os.environ) -> str:
    """The URL of the queue that brings launches that were put off. Raises SettingsError."""
    return required(environment, "TASKS_QUEUE_URL")


def deliveries_queue(environment: Mapping[str, str] = os.environ) -> str:
    """The URL of the queue that brings what webhooks are to be told. Raises SettingsError."""
    return required(environment, "DELIVERIES_QUEUE_URL")


def warm_pool(environment: Mapping[str, str] = os.environ) -> WarmPool:
    """For functions that launch. Raises SettingsError."""
    size, revision = number(environment, "WARM_POOL", 0), environment.get("SANDBOX_REVISION", "")
    return WarmPool(size, revision or cluster(environment).task_definition)


def retention_days(environment: Mapping[str, str] = os.environ) -> int:
    """For how long a session that has ended is kept; 0: for ever. Raises SettingsError."""
    return number(environment, "RETENTION_DAYS", 0)


def quotas(environment: Mapping[str, str] = os.environ) -> Quotas:
    """Raises SettingsError."""
    live, creates = number(environment, "QUOTA_LIVE", 10), number(environment, "QUOTA_CREATES", 60)
    try:
        value = environment.get("QUOTA_DAY_COST_USD")
        return Quotas(live, creates, prices.dollars(value) if value else None)
    except ValueError as error:
        raise SettingsError(f"QUOTA_DAY_COST_USD {error}") from None


def models(environment: Mapping[str, str] = os.environ) -> frozenset[str] | None:
    """The models that sessions may name; None: any."""
    names = [name.strip() for name in environment.get("MODELS", "").split(",")]
    return frozenset(filter(None, names)) or None


def model_keys(environment: Mapping[str, str] = os.environ) -> str | None:
    """What the names of secrets with accounts' own model keys begin with; None: accounts have none."""
    return environment.get("MODEL_KEYS") or None


def model_prices(environment: Mapping[str, str] = os.environ) -> dict[str, Price]:
    """What the operator adds to the known prices of models. Raises SettingsError."""
    value = environment.get("MODEL_PRICES")
    try:
        return prices.own(value) if value else {}
    except ValueError as error:
        raise SettingsError(f"MODEL_PRICES {error}") from None


def required(environment: Mapping[str, str], name: str) -> str:
    if not (value := environment.get(name, "")):
        raise SettingsError(f"{name} is not set.")
    return value


def one_of(environment: Mapping[str, str], name: str, *values: str) -> str:
    if (value := required(environment, name)) not in values:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(values)}.")
    return value


def number(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name) or str(default)
    if not (value.isascii() and value.isdigit()):
        raise SettingsError(f"{name} is {value!r}; it must be a whole number.")
    return int(value)
