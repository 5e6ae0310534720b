"""The filter, run by a small interpreter of BPF, and its numbers against the kernel's own headers."""

import errno
import re
import struct
from pathlib import Path

import pytest

from opensessions.local.walls import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
MACHINES = tuple(seccomp.ARCHITECTURES)
HEADERS = {
    "x86_64": ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"),
    "aarch64": ("/usr/include/asm-generic/unistd.h",),
}


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the kernel would do with a call: ALLOW, KILL, or the number of an error."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, audit or seccomp.ARCHITECTURES[machine].audit, 0, *padded)
    lines = list(struct.iter_unpack("=HBBI", seccomp.program(machine)))
    at = word = 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        if code == 0x20:
            (word,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return value if value in (ALLOW, KILL) else value & 0xFFFF
        else:
            holds = {0x15: word == value, 0x35: word >= value, 0x45: bool(word & value)}[code]
            at += if_true if holds else if_false


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def column(machine: str) -> int:
    return seccomp.ARCHITECTURES[machine].column


def test_what_is_listed_is_refused_and_the_rest_is_not(machine: str) -> None:
    denied = {row[column(machine)] for row in seccomp.DENIED.values()} - {None}
    special = {
        pair[column(machine)] for pair in (seccomp.CLONE, seccomp.CLONE3, seccomp.SOCKET, seccomp.IOCTL)
    }
    for number in range(600):
        if number not in special:
            assert verdict(machine, number) == (errno.EPERM if number in denied else ALLOW), number


def test_threads_and_processes_are_made_but_no_namespaces(machine: str) -> None:
    clone = seccomp.CLONE[column(machine)]
    assert verdict(machine, clone, 0x3D0F00) == ALLOW
    assert verdict(machine, clone, 0x1200011) == ALLOW
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert verdict(machine, clone, 1 << bit | 17) == errno.EPERM
    assert verdict(machine, seccomp.CLONE3[column(machine)]) == errno.ENOSYS


def test_sockets_are_of_four_families(machine: str) -> None:
    socket = seccomp.SOCKET[column(machine)]
    allowed = [family for family in range(64) if verdict(machine, socket, family, 1, 0) == ALLOW]
    assert allowed == [1, 2, 10, 16]
    assert verdict(machine, socket, 40, 1, 0) == errno.EAFNOSUPPORT
    assert verdict(machine, socket, 2, 1, 6) == ALLOW
    assert verdict(machine, socket, 16, 3, 9) == errno.EAFNOSUPPORT


def test_an_ioctl_is_judged_by_the_word_that_the_kernel_reads(machine: str) -> None:
    ioctl = seccomp.IOCTL[column(machine)]
    assert verdict(machine, ioctl, 0, 0x5413) == ALLOW
    assert verdict(machine, ioctl, 0, 0x5412) == errno.EPERM
    assert verdict(machine, ioctl, 0, 0xABC_0000_5412) == errno.EPERM


def test_other_architectures_calls_are_no_way_round(machine: str) -> None:
    other = next(name for name in MACHINES if name != machine)
    assert verdict(machine, 1, audit=seccomp.ARCHITECTURES[other].audit) == KILL
    assert verdict(machine, 1, audit=0x40000003) == KILL
    assert verdict("x86_64", 0x40000000 | 272) == errno.ENOSYS


def test_numbers_are_the_kernels(machine: str) -> None:
    header = next((path for name in HEADERS[machine] if (path := Path(name)).exists()), None)
    if header is None:
        pytest.skip("needs the kernel's headers (linux-libc-dev)")
    found = dict(re.findall(r"#define __NR3?(?:264)?_(\w+)\s+(\d+)", header.read_text()))
    special = {
        "clone": seccomp.CLONE,
        "clone3": seccomp.CLONE3,
        "socket": seccomp.SOCKET,
        "ioctl": seccomp.IOCTL,
    }
    for name, row in {**seccomp.DENIED, **special}.items():
        number = row[column(machine)]
        if name in found:
            assert number == int(found[name]), name
        else:
            assert number is None, name


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(KeyError):
        seccomp.program("riscv64")
