"""Sealing a secret by a key, with AES-GCM."""

import hashlib
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


def sealed(key: bytes, name: bytes, plain: bytes) -> bytes:
    """What `opened` gives back, for the same key and name alone. Never the same twice."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + _cipher(key).encrypt(nonce, plain, name)


def opened(key: bytes, name: bytes, data: bytes) -> bytes | None:
    """None for what was not sealed so."""
    try:
        return _cipher(key).decrypt(data[:_NONCE], data[_NONCE:], name)
    except (InvalidTag, ValueError):
        return None


def _cipher(key: bytes) -> AESGCM:
    """A key for this use alone, derived from the master key."""
    return AESGCM(hmac.digest(key, b"opensessions sealing", hashlib.sha256))
