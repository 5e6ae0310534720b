"""What `make run` reads from its environment, once, and the secrets that it keeps in its data directory."""

import fcntl
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from opensessions.access import tokens
from opensessions.money import prices
from opensessions.money.prices import Price
from opensessions.pool.spares import MOST_SPARES


class SettingsError(Exception):
    """A setting is wrong; the text names it and says what it should be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`port` 0 lets the system choose. `model_url` is any server that speaks the Anthropic Messages API;
    without it and `anthropic_api_key` the demo model plays. `models` None means any model, `egress_allow`
    None any public host. `model_prices` are added to the known ones, `day_cost_usd` is what all sessions
    together may spend on models in a day. `webhooks_loopback` lets webhooks lead to this machine, and
    `warm_pool` sandboxes are started before anybody asks for them.
    """

    port: int
    data_dir: Path
    api_key: str | None
    preview_domain: str
    anthropic_api_key: str | None
    model_url: str | None
    models: frozenset[str] | None
    egress_allow: tuple[str, ...] | None
    model_prices: dict[str, Price]
    day_cost_usd: float | None
    webhooks_loopback: bool
    warm_pool: int

    @property
    def demo(self) -> bool:
        """Whether the demo model answers, because no other is configured."""
        return not (self.anthropic_api_key or self.model_url)


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises SettingsError with the name of the variable that is wrong."""
    return Settings(
        port=_port(environment.get("PORT", "8000")),
        data_dir=_data_dir(environment),
        api_key=_api_key(environment.get("OPENSESSIONS_API_KEY")),
        preview_domain=_domain(environment.get("OPENSESSIONS_PREVIEW_DOMAIN", "preview.localhost")),
        anthropic_api_key=environment.get("ANTHROPIC_API_KEY") or None,
        model_url=_url(environment.get("OPENSESSIONS_MODEL_URL")),
        models=frozenset(_names(environment.get("OPENSESSIONS_MODELS")) or ()) or None,
        egress_allow=_names(environment.get("OPENSESSIONS_EGRESS_ALLOW")),
        model_prices=_prices(environment.get("OPENSESSIONS_MODEL_PRICES")),
        day_cost_usd=_dollars(environment, "OPENSESSIONS_DAY_COST_USD"),
        webhooks_loopback=_switch(environment, "OPENSESSIONS_WEBHOOKS_LOOPBACK"),
        warm_pool=_few(environment, "OPENSESSIONS_WARM_POOL"),
    )


def _port(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise SettingsError(f"PORT is {value!r}; it must be a number from 0 to 65535.")
    return int(value)


def _data_dir(environment: Mapping[str, str]) -> Path:
    if named := environment.get("OPENSESSIONS_DATA_DIR"):
        return Path(named).expanduser().absolute()
    home = (
        environment.get("XDG_DATA_HOME") or Path(environment.get("HOME") or Path.home()) / ".local" / "share"
    )
    return Path(home) / "opensessions"


def _api_key(value: str | None) -> str | None:
    if value and len(value) not in tokens.API_KEY_LENGTH:
        raise SettingsError("OPENSESSIONS_API_KEY is too short to be safe; use 20 to 200 characters.")
    return value or None


def _domain(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", value):
        raise SettingsError(
            f"OPENSESSIONS_PREVIEW_DOMAIN is {value!r}; it must be a domain like preview.localhost."
        )
    return value


def _url(value: str | None) -> str | None:
    if value and not re.match(r"https?://[^/\s]+", value):
        raise SettingsError(f"OPENSESSIONS_MODEL_URL is {value!r}; it must begin with http:// or https://.")
    return value or None


def _names(value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


def _prices(value: str | None) -> dict[str, Price]:
    try:
        return prices.own(value) if value else {}
    except ValueError as error:
        raise SettingsError(f"OPENSESSIONS_MODEL_PRICES {error}") from None


def _dollars(environment: Mapping[str, str], name: str) -> float | None:
    value = environment.get(name)
    try:
        return prices.dollars(value) if value else None
    except ValueError as error:
        raise SettingsError(f"{name} {error}") from None


def _few(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name) or "0"
    if not (value.isascii() and value.isdigit() and int(value) <= MOST_SPARES):
        raise SettingsError(f"{name} is {value!r}; it must be a number from 0 to {MOST_SPARES}.")
    return int(value)


def _switch(environment: Mapping[str, str], name: str) -> bool:
    if (value := environment.get(name) or "0") not in ("0", "1"):
        raise SettingsError(f"{name} is {value!r}; it must be 1 or 0.")
    return value == "1"


def kept_secret(file: Path, make: Callable[[], str]) -> str:
    """The secret in a file that only its owner reads; made at first use."""
    if not file.exists():
        file.touch(mode=0o600, exist_ok=False)
        file.write_text(make())
    return file.read_text().strip()


def claim(data_dir: Path) -> BinaryIO:
    """Make the data directory this process's own until the returned file is closed.

    Raises SettingsError when another server has it: two would each end the other's sandboxes.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (data_dir / "lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        reason = f"A server already runs on {data_dir}; stop it, or set OPENSESSIONS_DATA_DIR to another."
        raise SettingsError(reason) from None
    return lock
