"""What an operator decides, by `-c key=value` or in `cdk.context.json`; nothing is looked up at synthesis."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opensessions.money import prices
from opensessions.pool.spares import MOST_SPARES

Get = Callable[[str], Any]

_DOMAIN = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+"
_URL = rf"https://{_DOMAIN}(:[0-9]{{1,5}})?(/[A-Za-z0-9._~-]+)*"
_ZONE = r"Z[A-Z0-9]{1,31}"
_HOSTS = rf"((\*\.|\.)?{_DOMAIN}(,(\*\.|\.)?{_DOMAIN})*)?"
_IMAGES = r"build|asset|[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"


class ContextError(Exception):
    """A context value is wrong; the text names the key and what is legal."""


@dataclass(frozen=True, slots=True)
class Context:
    """`network` isolated: sandboxes without a route to the internet; open: in public subnets, cheapest, and
    no egress policy holds. `previews` domain: under a wildcard certificate for `preview_domain`; trial: one
    CloudFront name, for one tenant; off. `size` small: one gateway task, sandboxes in one zone; standard:
    two. `images` build: by CodeBuild in the account; asset: by the operator's Docker; else a URI, see
    `Images`. `table_name`: a table that was restored from a backup, instead of a new one. `retention_days`:
    how long a session that has ended is kept; None: for ever. `egress_allow`: hosts by commas; None is any
    public host. `model_url`: a server that speaks the Messages API, in place of Anthropic's. `models`: those
    that sandboxes may ask for, by commas; None is any. `query_key`: whether event streams take the API key
    from `?api_key=`, as browsers' EventSource needs; it ends up in logs of proxies. `quota_live` sandboxes at
    once, `quota_creates` new sessions a minute and `quota_day_cost_usd` for models a day is what an account
    may have; `model_prices` are added to the known ones. `warm_pool` sandboxes are started before anybody
    asks for them. `bundle` host: functions for this machine, for the rehearsal.
    """

    stack: str
    network: str
    previews: str
    size: str
    images: str
    model: str
    model_url: str | None
    domain: str | None
    hosted_zone_id: str | None
    preview_domain: str | None
    preview_zone_id: str | None
    table_name: str | None
    retention_days: int | None
    egress_allow: str | None
    models: str | None
    query_key: bool
    alarm_email: str | None
    daily_cost_usd: int
    warm_pool: int
    quota_live: int | None
    quota_creates: int | None
    quota_day_cost_usd: int | None
    model_prices: str | None
    bundle: str

    @property
    def isolated(self) -> bool:
        return self.network == "isolated"

    @property
    def bounds(self) -> dict[str, str]:
        """What any account may do, and what models cost, as the functions read it."""
        values = {
            "QUOTA_LIVE": self.quota_live,
            "QUOTA_CREATES": self.quota_creates,
            "QUOTA_DAY_COST_USD": self.quota_day_cost_usd,
            "MODEL_PRICES": self.model_prices,
            "MODELS": self.models,
        }
        return {name: str(value) for name, value in values.items() if value is not None}

    @property
    def model_keys(self) -> str | None:
        """What the names of secrets with accounts' own model keys begin with, where the model takes keys."""
        return None if self.model == "bedrock" else f"{self.stack}/model-keys/"

    @property
    def standard(self) -> bool:
        return self.size == "standard"


def read(get: Get) -> Context:
    """The context, checked. Raises ContextError."""
    preview_domain = _text(get, "preview_domain", _DOMAIN, "a domain like previews.example.net")
    hosted_zone_id = _text(get, "hosted_zone_id", _ZONE, "the id of a Route 53 zone like Z0123456789ABC")
    context = Context(
        stack=_text(get, "stack", r"[A-Za-z][A-Za-z0-9-]{0,63}", "letters, digits and '-'") or "opensessions",
        network=_one_of(get, "network", "isolated", "open"),
        previews=_one_of(get, "previews", *(("domain", "trial", "off") if preview_domain else _WITHOUT)),
        size=_one_of(get, "size", "small", "standard"),
        images=_text(get, "images", _IMAGES, "build, asset, or a URI like example.com/opensessions:1.0")
        or "build",
        **_model(get),
        domain=_text(get, "domain", _DOMAIN, "a domain like api.example.com"),
        hosted_zone_id=hosted_zone_id,
        preview_domain=preview_domain,
        preview_zone_id=_text(get, "preview_zone_id", _ZONE, "the id of a Route 53 zone like Z0123456789ABC")
        or hosted_zone_id,
        table_name=_text(get, "table_name", r"[A-Za-z0-9_.-]{3,255}", "the name of a DynamoDB table"),
        retention_days=_number(get, "retention_days", 1),
        egress_allow=_hosts(get),
        models=_text(get, "models", r"[A-Za-z0-9._:/,-]{1,2000}", "names of models with commas"),
        query_key=_one_of(get, "query_key", "no", "yes") == "yes",
        alarm_email=_text(get, "alarm_email", r"[^@\s]+@[^@\s]+", "an e-mail address"),
        daily_cost_usd=_number(get, "daily_cost_usd", 1) or 50,
        warm_pool=_few(get, "warm_pool", MOST_SPARES),
        quota_live=_number(get, "quota_live", 1),
        quota_creates=_number(get, "quota_creates", 1),
        quota_day_cost_usd=_number(get, "quota_day_cost_usd", 0),
        model_prices=_prices(get),
        bundle=_one_of(get, "bundle", "lambda", "host"),
    )
    _agree(context)
    return context


_WITHOUT = ("trial", "domain", "off")
"""`previews` where there is no `preview_domain`, the default first."""


def _agree(context: Context) -> None:
    if context.previews == "domain" and not (context.preview_domain and context.preview_zone_id):
        raise ContextError(
            "previews=domain needs preview_domain, and the zone that it lies in as hosted_zone_id or "
            "preview_zone_id; without a domain, previews must be trial or off."
        )
    if context.domain and not context.hosted_zone_id:
        raise ContextError("domain needs hosted_zone_id, the id of the Route 53 zone that it lies in.")
    if context.domain and context.preview_domain and _site(context.domain) == _site(context.preview_domain):
        raise ContextError(
            f"preview_domain must not lie under {_site(context.domain)}, as domain does, but under a domain "
            "of its own: previews are strangers' pages, and cookies do not stop at a subdomain."
        )
    if context.egress_allow is not None and not context.isolated:
        raise ContextError(
            "egress_allow needs network=isolated; with network=open a sandbox can go round the proxy, so no "
            "list of hosts would hold."
        )


def _site(domain: str) -> str:
    """The registrable domain, near enough: `example.com`, `example.co.uk`."""
    labels = domain.split(".")
    under_state = len(labels[-1]) == 2 and labels[-2] in ("ac", "co", "com", "edu", "gov", "net", "or", "org")
    return ".".join(labels[-3 if under_state else -2 :])


def _one_of(get: Get, key: str, default: str, *others: str) -> str:
    value = str(get(key) or default)
    if value not in (default, *others):
        raise ContextError(f"{key} must be {' or '.join(sorted((default, *others)))}, not {value!r}.")
    return value


def _text(get: Get, key: str, pattern: str, legal: str) -> str | None:
    value = get(key)
    if value in (None, ""):
        return None
    if not re.fullmatch(pattern, str(value)):
        raise ContextError(f"{key} must be {legal}, not {str(value)!r}.")
    return str(value)


def _number(get: Get, key: str, least: int) -> int | None:
    value = _text(get, key, r"[0-9]{1,6}", f"a whole number from {least} on")
    if value is not None and int(value) < least:
        raise ContextError(f"{key} must be a whole number from {least} on, not {value!r}.")
    return int(value) if value is not None else None


def _model(get: Get) -> dict[str, Any]:
    """A server of one's own answers as Anthropic does, by the key in the secret."""
    value = str(get("model") or "anthropic")
    if re.fullmatch(_URL, value):
        return {"model": "anthropic", "model_url": value}
    if value not in ("anthropic", "bedrock"):
        legal = "anthropic, bedrock, or the address of a server like https://models.example.com"
        raise ContextError(f"model must be {legal}, not {value!r}.")
    return {"model": value, "model_url": None}


def _prices(get: Get) -> str | None:
    value = get("model_prices")
    if value in (None, ""):
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        prices.own(text)
    except ValueError as error:
        raise ContextError(f"model_prices {error}") from None
    return text


def _few(get: Get, key: str, most: int) -> int:
    value = _text(get, key, r"[0-9]{1,6}", f"a whole number from 0 to {most}")
    if int(value or 0) > most:
        raise ContextError(f"{key} must be a whole number from 0 to {most}, not {value!r}.")
    return int(value or 0)


def _hosts(get: Get) -> str | None:
    """An empty list is a list: no host at all."""
    if get("egress_allow") is None:
        return None
    return _text(get, "egress_allow", _HOSTS, "hosts like example.com,*.example.net") or ""
