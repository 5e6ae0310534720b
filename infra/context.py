"""What an operator decides, by `-c key=value` or `cdk.context.json`; nothing is looked up at synthesis."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class ContextError(Exception):
    """A context value is wrong; the text names the key and what is legal."""


@dataclass(frozen=True, slots=True)
class Context:
    """`network` isolated: sandboxes without a route to the internet; open: in public subnets, cheapest.
    `previews` domain: under a wildcard certificate; trial: one CloudFront name, one tenant; off.
    `size` small: one gateway task, one zone; standard: two. `images` build: by CodeBuild in the account;
    asset: by the operator's Docker; else `<repository>:<tag>` prefixes' common part, to which `-gateway`
    and `-sandbox` are added before the colon. `egress_allow` None: any public host.
    """

    network: str
    previews: str
    size: str
    images: str
    model: str
    domain: str | None
    preview_domain: str | None
    hosted_zone_id: str | None
    preview_zone_id: str | None
    table_name: str | None
    retention_days: int | None
    egress_allow: str | None
    alarm_email: str | None
    daily_cost_usd: int
    warm_pool: int
    bundle: str

    @property
    def isolated(self) -> bool:
        return self.network == "isolated"

    @property
    def standard(self) -> bool:
        return self.size == "standard"


def read(get: Callable[[str], Any]) -> Context:
    """The context, checked. Raises ContextError."""
    context = Context(
        network=_one_of(get, "network", "isolated", "open"),
        previews=_one_of(get, "previews", "trial", "domain", "off"),
        size=_one_of(get, "size", "small", "standard"),
        images=get("images") or "build",
        model=_one_of(get, "model", "anthropic", "bedrock"),
        domain=_name(get, "domain"),
        preview_domain=_name(get, "preview_domain"),
        hosted_zone_id=get("hosted_zone_id"),
        preview_zone_id=get("preview_zone_id") or get("hosted_zone_id"),
        table_name=get("table_name"),
        retention_days=_number(get, "retention_days"),
        egress_allow=get("egress_allow"),
        alarm_email=get("alarm_email"),
        daily_cost_usd=_number(get, "daily_cost_usd") or 50,
        warm_pool=_number(get, "warm_pool") or 0,
        bundle=_one_of(get, "bundle", "lambda", "host"),
    )
    _agree(context)
    return context


def _agree(context: Context) -> None:
    if context.previews == "domain" and not (context.preview_domain and context.preview_zone_id):
        raise ContextError("previews=domain needs preview_domain, and hosted_zone_id or preview_zone_id.")
    if context.domain and not context.hosted_zone_id:
        raise ContextError("domain needs hosted_zone_id, the Route 53 zone that it lies in.")
    if context.domain and context.preview_domain and _site(context.domain) == _site(context.preview_domain):
        raise ContextError(
            "preview_domain must lie under another registrable domain than domain: previews are strangers' "
            "pages, and cookies and phishing do not stop at a subdomain."
        )
    if context.egress_allow is not None and not context.isolated:
        raise ContextError(
            "egress_allow needs network=isolated: with network=open a sandbox can go round the proxy."
        )
    if context.warm_pool:
        raise ContextError("warm_pool is not built yet; it must be 0.")


def _site(domain: str) -> str:
    return ".".join(domain.split(".")[-2:])


def _one_of(get: Callable[[str], Any], key: str, default: str, *others: str) -> str:
    value = get(key) or default
    if value not in (default, *others):
        raise ContextError(f"{key} is {value!r}; it must be one of {', '.join((default, *others))}.")
    return str(value)


def _name(get: Callable[[str], Any], key: str) -> str | None:
    value = get(key)
    if value and not re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+", str(value)):
        raise ContextError(f"{key} is {value!r}; it must be a domain like example.com.")
    return value or None


def _number(get: Callable[[str], Any], key: str) -> int | None:
    value = get(key)
    if value is None or value == "":
        return None
    if not str(value).isdecimal():
        raise ContextError(f"{key} is {value!r}; it must be a whole number.")
    return int(value)
