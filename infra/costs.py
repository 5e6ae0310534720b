"""`python -m infra.costs`: what a deployment costs, from one table of prices and one of what runs.

Left out, because they are the callers' choice or next to nothing: the model's tokens, what clients download
($0.09 a GB), storage but that of an archive, deployments. Free allowances of AWS are not taken off.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from opensessions.archives import PART_BYTES
from opensessions.models import Limits
from opensessions.pool.pooling import AGE
from opensessions.sessions.lifecycle import Deadlines

_HERE = Path(__file__).parent
_TABLE: dict[str, Any] = json.loads((_HERE / "prices.json").read_text())
SOURCES: dict[str, dict[str, Any]] = _TABLE["prices"]
PRICES: dict[str, float] = {name: entry["usd"] for name, entry in SOURCES.items()}
UNITS: dict[str, tuple[float, float]] = {
    name: (reads, writes) for name, (reads, writes) in json.loads((_HERE / "units.json").read_text()).items()
}
"""Request units of DynamoDB for each operation; `python -m bench request_units` counts them."""

BEGIN, END = "<!-- python -m infra.costs docs/deploy.md -->", "<!-- end -->"
"""Between these the report stands in a page."""

HOURS = 730
"""In a month."""
MINUTES = HOURS * 60

NETWORKS, PREVIEWS, SIZES = ("isolated", "open"), ("trial", "domain", "off"), ("small", "standard")

SANDBOX_VCPU, SANDBOX_GB = 1.0, 2.0
FUNCTION_GB = {"api": 1.0, "callback": 0.5, "sweep": 0.5}
TRACED = ("api",)
"""Functions whose calls are traced: by X-Ray's default, the first of every second and 5 % of the others."""
FUNCTION_SECONDS = {"api": 0.15, "callback": 0.1, "sweep": 0.3}
"""Billed for a warm call. Judged: what `python -m bench functions` measures as processor time, at the share
of a processor that the memory buys, and 5 ms for each request to DynamoDB.
"""
LOG_BYTES = 500
"""Of a call: what Lambda itself logs."""
IMAGES_GB = 1.0

EVENTS, POSTS = 1000, 750
"""Of a session of half an hour that says so many things step by step: `python -m bench request_units`."""
FASTEST_POSTS, FASTEST_EVENTS = 7740, 46
"""In an hour in which the agent never pauses, at the most that is not sent at once: posts, and events in
each. More than this the gateway does not let through (64 KB/s).
"""
HEARTBEAT = 20
"""Seconds after which a sandbox with nothing to say says so."""
CALLS = 20
"""To the API, in a session: create, messages, looks, streams, delete."""

TURNS, USED_SECONDS = 4, 600
"""Of a session that is left then."""
ARCHIVE_BYTES = 50 * 10**6


@dataclass(frozen=True, slots=True)
class Line:
    """So much of what a price is for, and why."""

    price: str
    quantity: float
    what: str

    @property
    def usd(self) -> float:
        return PRICES[self.price] * self.quantity


def running(network: str, previews: str, size: str, model: str = "anthropic") -> dict[str, float]:
    """What of each price is always on, by the hour or the month: quantities at one moment."""
    standard, isolated = size == "standard", network == "isolated"
    tasks = 2 if standard else 1
    return {
        "fargate_vcpu_hour": tasks * (0.5 if standard else 0.25),
        "fargate_gb_hour": tasks * (1.0 if standard else 0.5),
        "public_ipv4_hour": tasks + (2 if previews == "domain" else 0),
        "balancer_hour": 1,
        "endpoint_hour": 2 * (2 if standard else 1) if isolated else 0,
        "secret_month": 2 if model == "anthropic" else 1,
        "hosted_zone_month": 1,
        "firewall_domain_month": (4 if model == "anthropic" else 3) if isolated else 0,
        "alarm_month": 3 + 2 + 2,
        "dashboard_month": 1,
    }


def idle(network: str, previews: str, size: str, model: str = "anthropic") -> list[Line]:
    """A month in which nobody calls: what is always on, and the sweep of every minute."""
    lines = [
        Line(price, count * (HOURS if price.endswith("_hour") else 1), "always on")
        for price, count in running(network, previews, size, model).items()
    ]
    lines.append(Line("image_gb_month", IMAGES_GB, "images"))
    return [*lines, *_units("sweep: nothing due", MINUTES), *_called("sweep", MINUTES, MINUTES * 60)]


def session(network: str, seconds: float, posts: float, events_each: int, calls: int = CALLS) -> list[Line]:
    """A session whose sandbox lives so long and says so much, watched all the time by one client."""
    events = _events(events_each)
    return [
        *awake(network, seconds, posts, events_each),
        *_units("create", 1),
        *_units("get", calls),
        *(_units(f"stream: push {events}", posts) if events_each else []),
        *_units("stream: a minute of silence", seconds / 60),
        *_units("delete", 1),
        *_called("api", calls, seconds),
        Line("metric_month", 1 / HOURS, "the sweep tells for how long a launch has taken"),
        Line("rest_request", calls, "calls"),
    ]


def awake(network: str, seconds: float, posts: float, events_each: int) -> list[Line]:
    """A sandbox that lives so long and says so much, watched by nobody."""
    minutes, hours = seconds / 60, seconds / 3600
    return [
        Line("fargate_vcpu_hour", SANDBOX_VCPU * hours, "sandbox"),
        Line("fargate_gb_hour", SANDBOX_GB * hours, "sandbox"),
        Line("public_ipv4_hour", hours if network == "open" else 0, "sandbox"),
        *_units(f"append {_events(events_each)}" if events_each else "sign of life", posts),
        *_units("inbox: look after an append", posts),
        *_units("inbox: a minute of silence", minutes),
        *_units("sweep: look at a session", minutes),
        *_called("callback", posts, seconds),
    ]


def left_awake(network: str, seconds: float) -> list[Line]:
    """A session that is used for ten minutes, and whose sandbox then says nothing, for so long in all."""
    silent = seconds - USED_SECONDS
    return [*_used(network), *awake(network, silent, silent / HEARTBEAT, 0)]


def left_asleep(network: str) -> list[Line]:
    """A session that is used for ten minutes, falls asleep when its limit has passed, and sleeps for the rest
    of a month; each turn is kept as a version.
    """
    return [
        *left_awake(network, USED_SECONDS + (Limits().idle_seconds or 0)),
        *_units("a version saved", TURNS),
        *_units("hibernate", 1),
        *_archived(1, TURNS),
        *_archived(math.ceil(ARCHIVE_BYTES / PART_BYTES), 1),
        *_called("callback", TURNS + 1, USED_SECONDS),
        Line("s3_gb_month", ARCHIVE_BYTES / 1e9, "archive"),
    ]


def spare(network: str) -> list[Line]:
    """A month of one place in the warm pool: a sandbox that waits, and is replaced when it is old."""
    signs, launches = MINUTES * 60 / HEARTBEAT, MINUTES * 60 / AGE.total_seconds()
    return [
        Line("fargate_vcpu_hour", SANDBOX_VCPU * HOURS, "sandbox"),
        Line("fargate_gb_hour", SANDBOX_GB * HOURS, "sandbox"),
        Line("public_ipv4_hour", HOURS if network == "open" else 0, "sandbox"),
        *_units("spare: a minute of waiting", MINUTES),
        *_units("spare: sign of life", signs),
        *_units("spare: launch, boot, ready", launches),
        *_called("callback", signs + 3 * launches, MINUTES * 60),
    ]


def units(reads: float, writes: float) -> float:
    """USD for so many request units."""
    return reads * PRICES["dynamodb_read"] + writes * PRICES["dynamodb_write"]


def total(lines: list[Line]) -> float:
    return sum(line.usd for line in lines)


def _units(operation: str, times: float) -> list[Line]:
    reads, writes = UNITS[operation]
    return [
        Line("dynamodb_read", reads * times, operation),
        Line("dynamodb_write", writes * times, operation),
    ]


def _used(network: str) -> list[Line]:
    return session(network, USED_SECONDS, POSTS * USED_SECONDS / 1800, 1)


def _archived(parts: int, times: int) -> list[Line]:
    """Archives of so many parts: these, the listing, the manifest and the diff are put and looked for; older
    ones are listed, and listed again by the version before and after they are deleted.
    """
    return [
        Line("s3_write", (parts + 3 + 1 + 4) * times, "archive"),
        Line("s3_read", (parts + 1) * times, "archive"),
    ]


def _events(each: int) -> str:
    return f"{each} event{'s' if each > 1 else ''}"


def _called(function: str, times: float, seconds: float) -> list[Line]:
    """So many calls of a function, spread over so many seconds."""
    traces = min(times, seconds) + 0.05 * max(0.0, times - seconds) if function in TRACED else 0.0
    return [
        Line("lambda_request", times, function),
        Line("lambda_gb_second", times * FUNCTION_SECONDS[function] * FUNCTION_GB[function], function),
        Line("log_gb", times * LOG_BYTES / 1e9, function),
        Line("trace", traces, function),
    ]


# ---- the report ----


def half_hour(network: str) -> float:
    """USD for a session of 30 minutes and 1,000 events."""
    return total(session(network, 1800, POSTS, 1))


def hour(network: str) -> float:
    """USD for an hour of a sandbox that says nothing, but lives."""
    return total(session(network, 3600, 3600 / HEARTBEAT, 0))


def fastest_hour(network: str) -> float:
    """USD for an hour of events at the highest pace of the outbox."""
    return total(session(network, 3600, FASTEST_POSTS, FASTEST_EVENTS))


def left_for_a_month(network: str) -> float:
    """USD for a session that is used for ten minutes and stays awake."""
    return total(left_awake(network, MINUTES * 60))


def left_for_a_lifetime(network: str) -> float:
    """USD for a session that is used for ten minutes and stays awake for as long as a sandbox may live."""
    return total(left_awake(network, Deadlines().lifetime))


def left_to_sleep(network: str) -> float:
    """USD for a session that is used for ten minutes and sleeps for the rest of a month."""
    return total(left_asleep(network))


def kept_warm(network: str) -> float:
    """USD for a month of one place in the warm pool."""
    return total(spare(network))


def report() -> str:
    """The tables of docs/deploy.md, as Markdown."""
    rows = ["| idle, a month | " + " | ".join(f"`previews={name}`" for name in PREVIEWS) + " |"]
    rows.append("|---|" + "---:|" * len(PREVIEWS))
    for network, size in product(NETWORKS, SIZES):
        amounts = [f"${total(idle(network, previews, size)):.2f}" for previews in PREVIEWS]
        rows.append(f"| `network={network}` `size={size}` | " + " | ".join(amounts) + " |")
    rows += ["", "| beside that | " + " | ".join(f"`network={name}`" for name in NETWORKS) + " |"]
    rows.append("|---|" + "---:|" * len(NETWORKS))
    for what, cost in (
        ("a session of 30 minutes and 1,000 events", half_hour),
        ("an hour of a sandbox that says nothing", hour),
        ("an hour of a sandbox that never stops talking", fastest_hour),
        ("a session used for ten minutes and left for a month, asleep, with 50 MB archived", left_to_sleep),
        ("the same, kept awake for the eight hours that a sandbox may live", left_for_a_lifetime),
        ("the same, kept awake for the month", left_for_a_month),
        ("a month of each sandbox that `warm_pool` keeps", kept_warm),
    ):
        rows.append(f"| {what} | " + " | ".join(f"${cost(network):.4f}" for network in NETWORKS) + " |")
    return "\n".join(rows)


def explained(lines: list[Line]) -> Iterator[str]:
    """The lines by price, dearest first."""
    sums: dict[str, float] = {}
    for line in lines:
        sums[line.price] = sums.get(line.price, 0.0) + line.usd
    for price, usd in sorted(sums.items(), key=lambda entry: -entry[1]):
        if usd >= 5e-7:
            yield f"  ${usd:10.6f}  {price}"


def written(text: str) -> str:
    """A page with the report between its marks."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"The page has no {BEGIN} … {END}")
    return f"{head}{begin}\n{report()}\n{end}{tail}"


def main(words: list[str]) -> int:
    if words == ["--explain"]:
        explain()
    elif len(words) == 1 and words[0].endswith(".md"):
        page = Path(words[0])
        page.write_text(written(page.read_text()))
    elif words:
        print("usage: python -m infra.costs [--explain | PAGE.md]", file=sys.stderr)
        return 2
    else:
        print(report())
    return 0


def explain() -> None:
    chosen: Mapping[str, list[Line]] = {
        "idle, isolated, trial, small": idle("isolated", "trial", "small"),
        "30 minutes, 1,000 events, isolated": session("isolated", 1800, POSTS, 1),
        "an hour without pause, isolated": session("isolated", 3600, FASTEST_POSTS, FASTEST_EVENTS),
        "10 minutes, then asleep for a month, isolated": left_asleep("isolated"),
    }
    for title, lines in chosen.items():
        print(f"\n{title}: ${total(lines):.4f}", *explained(lines), sep="\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
