"""Which addresses count as the public internet."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from opensessions.addresses import strict

PUBLIC = ["93.184.216.34", "1.1.1.1", "8.8.8.8", "::ffff:1.1.1.1", "2606:4700:4700::1111", "2a00:1450::200e"]
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.1.2.3",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9",
    "192.0.0.170", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::169.254.169.254", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::ffff:0:127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::1.1.1.1",
    "64:ff9b:1::a9fe:a9fe", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1", "2001:20::1", "2001:db8::1",
    "2002:a9fe:a9fe::", "2002:0101:0101::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254",
    "fe80::1", "fe80::1%eth0", "2606:4700:4700::1111%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "", "localhost", "127.1", "0x7f.1", "2130706433", "1.1.1.1 ", "1.1.1.1/32", "[::1]", "01.1.1.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_i16_public(address: str) -> None:
    assert strict(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_i16_not_public(address: str) -> None:
    assert not strict(address)


def test_own_networks_are_refused_in_both_spellings() -> None:
    own = (ip_network("93.184.0.0/16"), ip_network("2606:4700::/32"))
    assert not strict("93.184.216.34", own)
    assert not strict("::ffff:93.184.216.34", own)
    assert not strict("2606:4700::1", own)
    assert strict("1.1.1.1", own)
