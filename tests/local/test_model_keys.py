"""Accounts' own model keys in files."""

import stat
from pathlib import Path

import pytest

from opensessions.errors import StoreError
from opensessions.local.model_keys import FileModelKeys
from opensessions.local.sealing import opened, sealed

KEY = "sk-ant-canary-of-a-model-key"


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 1000])
def test_what_is_sealed_opens_with_its_key_and_name_alone(size: int) -> None:
    plain = bytes(range(256)) * 4
    plain = plain[:size]
    data = sealed(b"k" * 32, b"acme", plain)
    assert opened(b"k" * 32, b"acme", data) == plain
    assert opened(b"x" * 32, b"acme", data) is opened(b"k" * 32, b"acm", data) is None
    assert sealed(b"k" * 32, b"acme", plain) != data


def test_no_byte_of_it_can_be_changed_or_left_out() -> None:
    data = sealed(b"k" * 32, b"acme", b"a secret of some length, over two blocks")
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        assert opened(b"k" * 32, b"acme", bytes(changed)) is None
        assert opened(b"k" * 32, b"acme", data[:place]) is None
        assert opened(b"k" * 32, b"acme", data[place + 1 :]) is None


def test_a_key_is_in_a_file_of_its_owner_which_does_not_tell_it(tmp_path: Path) -> None:
    keys = FileModelKeys(tmp_path / "model-keys", b"m" * 32)
    keys.put("../acme", KEY)
    (file,) = (tmp_path / "model-keys").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert KEY.encode() not in file.read_bytes() and "acme" not in file.name
    again = FileModelKeys(tmp_path / "model-keys", b"m" * 32)
    assert again.read("../acme") == KEY and again.since("../acme") and again.read("acme") is None
    with pytest.raises(StoreError, match=r"master\.key"):
        FileModelKeys(tmp_path / "model-keys", b"x" * 32).read("../acme")
