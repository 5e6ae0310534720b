"""Where a webhook may lead, by its URL and by what its name resolves to."""

import pytest

from opensessions.errors import InvalidRequest
from opensessions.webhooks.destinations import Destination, Destinations, Unreachable

PUBLIC = Destinations(("previews.example.com",))
NEAR = Destinations(loopback=True)


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://example.com", "example.com", "/"),
        ("https://Example.COM:443/hooks?a=1&b=%20", "example.com", "/hooks?a=1&b=%20"),
        ("https://example.com?a=1", "example.com", "/?a=1"),
        ("https://xn--bcher-kva.example./", "xn--bcher-kva.example", "/"),
    ],
)
def test_https_to_a_name_on_the_internet(url: str, host: str, path: str) -> None:
    assert PUBLIC.parse(url) == Destination(True, host, 443, path)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "https://"),
        ("https://example.com:8443/", "port 443"),
        ("https://example.com:80/", "port 443"),
        ("https://127.0.0.1/", "IP addresses are refused"),
        ("https://127.1/", "IP addresses are refused"),
        ("https://0x7f.1/", "IP addresses are refused"),
        ("https://2130706433/", "IP addresses are refused"),
        ("https://169.254.169.254/latest", "IP addresses are refused"),
        ("https://[::1]/", "IP addresses are refused"),
        ("https://[fd00::1]/", "must be an https address"),
        ("https://localhost/", "names without a dot"),
        ("https://user:pass@example.com/", "must be an https address"),
        ("https://example.com@10.0.0.1/", "must be an https address"),
        ("https://example.com/#x", "must be an https address"),
        ("https://example.com/a b", "must be an https address"),
        ("https://example.com/\r\nHost: x", "must be an https address"),
        ("https://exa\tmple.com/", "must be an https address"),
        ("https://example.com\\@10.0.0.1/", "must be an https address"),
        ("https:///hooks", "must be an https address"),
        ("https://%65xample.com/", "must be an https address"),
        ("https://bücher.example/", "must be an https address"),
        ("https://-a.example.com/", "not a host name"),
        ("ftp://example.com/", "must be an https address"),
        ("//example.com/", "must be an https address"),
        ("https://sb-1-p3000.previews.example.com/", "a name of this server's own"),
        ("https://previews.example.com/", "a name of this server's own"),
        ("https://example.com/" + "a" * 2048, "2,048"),
        ("", "must be an https address"),
    ],
)
def test_anything_else_is_refused_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as refused:
        PUBLIC.parse(url, "webhook.url")
    assert refused.value.field == "webhook.url" and str(refused.value).startswith("webhook.url ")


def test_this_machine_only_where_the_operator_says_so() -> None:
    near = Destination(False, "127.0.0.1", 9000, "/hook", local=True)
    assert NEAR.parse("http://127.0.0.1:9000/hook") == near
    assert NEAR.addresses(near) == ("127.0.0.1",)
    assert NEAR.addresses(NEAR.parse("https://[::1]:9000/")) == ("::1",)
    assert NEAR.addresses(NEAR.parse("http://localhost/")) == ("127.0.0.1",)
    for url in ("http://10.0.0.1/", "http://127.0.0.2/", "http://example.com/", "https://example.com:9000/"):
        with pytest.raises(InvalidRequest):
            NEAR.parse(url)
    with pytest.raises(InvalidRequest):
        NEAR.parse("http://localhost:0/")


def test_all_addresses_of_the_name_are_judged_once() -> None:
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        return ["93.184.216.34", "2606:4700::1111"]

    to = PUBLIC.parse("https://example.com/")
    assert PUBLIC.addresses(to, resolve) == ["93.184.216.34", "2606:4700::1111"]
    assert asked == ["example.com"]


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
def test_a_name_that_leads_to_a_private_address_is_not_dialled(address: str) -> None:
    for destinations in (PUBLIC, NEAR):
        to = destinations.parse("https://example.com/")
        with pytest.raises(Unreachable, match="not public"):
            destinations.addresses(to, lambda _: ["93.184.216.34", address])


def test_a_name_that_nobody_knows() -> None:
    def unknown(_: str) -> list[str]:
        raise OSError("no such name")

    to = PUBLIC.parse("https://example.com/")
    for resolve in (unknown, lambda _: []):
        with pytest.raises(Unreachable, match="cannot be resolved"):
            PUBLIC.addresses(to, resolve)
