"""The system calls that a sandbox cannot make: a filter in classic BPF, made without a library.

Everything is allowed but what is named here, so that compilers, browsers and package managers run as usual.
What is refused is what lets a process reach over its namespaces, make new ones, look into its neighbours, or
use large and young parts of the kernel that no build tool needs. strace and gdb are the price.
"""

import platform
import struct
from collections.abc import Iterable, Mapping
from errno import EAFNOSUPPORT, ENOSYS, EPERM
from types import MappingProxyType
from typing import NamedTuple


class Architecture(NamedTuple):
    """`audit` is the kernel's AUDIT_ARCH number; `column` the place of a call's number in DENIED."""

    audit: int
    column: int


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {"x86_64": Architecture(0xC000003E, 0), "aarch64": Architecture(0xC00000B7, 1)}
)

# Name: number on x86-64, number on arm64 (None: it has no such call).
DENIED: Mapping[str, tuple[int, int | None]] = MappingProxyType(
    {
        # namespaces and mounts
        "unshare": (272, 97),
        "setns": (308, 268),
        "mount": (165, 40),
        "umount2": (166, 39),
        "pivot_root": (155, 41),
        "chroot": (161, 51),
        "open_tree": (428, 428),
        "move_mount": (429, 429),
        "fsopen": (430, 430),
        "fsconfig": (431, 431),
        "fsmount": (432, 432),
        "fspick": (433, 433),
        "mount_setattr": (442, 442),
        "open_by_handle_at": (304, 265),
        # other processes
        "ptrace": (101, 117),
        "process_vm_readv": (310, 270),
        "process_vm_writev": (311, 271),
        "pidfd_getfd": (438, 438),
        "process_madvise": (440, 440),
        "kcmp": (312, 272),
        "migrate_pages": (256, 238),
        "move_pages": (279, 239),
        # keyrings: they are not parted by any namespace
        "add_key": (248, 217),
        "request_key": (249, 218),
        "keyctl": (250, 219),
        # large attack surface
        "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426),
        "io_uring_register": (427, 427),
        "userfaultfd": (323, 282),
        "bpf": (321, 280),
        "perf_event_open": (298, 241),
        "fanotify_init": (300, 262),
        "modify_ldt": (154, None),
        # the machine as a whole
        "reboot": (169, 142),
        "kexec_load": (246, 104),
        "kexec_file_load": (320, 294),
        "init_module": (175, 105),
        "finit_module": (313, 273),
        "delete_module": (176, 106),
        "swapon": (167, 224),
        "swapoff": (168, 225),
        "acct": (163, 89),
        "quotactl": (179, 60),
        "quotactl_fd": (443, 443),
        "syslog": (103, 116),
        "settimeofday": (164, 170),
        "clock_settime": (227, 112),
        "adjtimex": (159, 171),
        "clock_adjtime": (305, 266),
        "sethostname": (170, 161),
        "setdomainname": (171, 162),
        "iopl": (172, None),
        "ioperm": (173, None),
        "vhangup": (153, 58),
    }
)

CLONE = (56, 220)
CLONE3 = (435, 435)
SOCKET = (41, 198)
IOCTL = (16, 29)

# CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; a new time namespace can be had by unshare and clone3 alone.
NEW_NAMESPACES = 0x7E020000
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
# Typing into a terminal, pasting into one, and loading a line discipline.
DENIED_IOCTLS = (0x5412, 0x541C, 0x5423)

_NR, _ARCH, _ARG0, _ARG1, _ARG2 = 0, 4, 16, 24, 32
_LOAD, _JUMP_EQUAL, _JUMP_ANY_BIT, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_X32 = 0x40000000


def _error(number: int) -> int:
    return 0x00050000 | number


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(values: Iterable[int], verdict: int) -> list[bytes]:
    """Return `verdict` when the loaded word is one of `values`."""
    lines = []
    for value in values:
        lines += [_instruction(_JUMP_EQUAL, value, 0, 1), _instruction(_RETURN, verdict)]
    return lines


def _on_call(number: int, lines: list[bytes]) -> list[bytes]:
    """Run `lines`, then allow, when the loaded call is `number`; else go on behind them."""
    body = [*lines, _instruction(_RETURN, _ALLOW)]
    return [_instruction(_JUMP_EQUAL, number, 0, len(body)), *body]


def _socket_lines() -> list[bytes]:
    """Unix and internet sockets, and of netlink only routes (protocol 0), which list the interfaces."""
    return [
        _instruction(_LOAD, _ARG0),
        _instruction(_JUMP_EQUAL, AF_UNIX, 6),
        _instruction(_JUMP_EQUAL, AF_INET, 5),
        _instruction(_JUMP_EQUAL, AF_INET6, 4),
        _instruction(_JUMP_EQUAL, AF_NETLINK, 0, 2),
        _instruction(_LOAD, _ARG2),
        _instruction(_JUMP_EQUAL, 0, 1),
        _instruction(_RETURN, _error(EAFNOSUPPORT)),
    ]


def program(machine: str | None = None) -> bytes:
    """The filter for a machine (`platform.machine()`'s spelling; this one by default), as bwrap takes it.

    Raises KeyError for a machine that is neither x86_64 nor aarch64.
    """
    name = machine or platform.machine()
    architecture = ARCHITECTURES[name]
    column = architecture.column
    denied = [number for row in DENIED.values() if (number := row[column]) is not None]
    clone_lines = [
        _instruction(_LOAD, _ARG0),
        _instruction(_JUMP_ANY_BIT, NEW_NAMESPACES, 0, 1),
        _instruction(_RETURN, _error(EPERM)),
    ]
    lines = [
        _instruction(_LOAD, _ARCH),
        _instruction(_JUMP_EQUAL, architecture.audit, 1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NR),
    ]
    if name == "x86_64":  # the x32 ABI reaches the same calls under other numbers
        lines += [_instruction(_JUMP_AT_LEAST, _X32, 0, 1), _instruction(_RETURN, _error(ENOSYS))]
    # clone3 hides its flags behind a pointer; on ENOSYS the C libraries fall back to clone.
    lines += _refuse([CLONE3[column]], _error(ENOSYS))
    lines += _refuse(denied, _error(EPERM))
    lines += _on_call(CLONE[column], clone_lines)
    lines += _on_call(SOCKET[column], _socket_lines())
    # The kernel reads an ioctl's number as 32 bits: the lower word is what counts.
    ioctl_lines = [_instruction(_LOAD, _ARG1), *_refuse(DENIED_IOCTLS, _error(EPERM))]
    lines += _on_call(IOCTL[column], ioctl_lines)
    return b"".join([*lines, _instruction(_RETURN, _ALLOW)])
