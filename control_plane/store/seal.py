"""Secrets at rest: what is looked up is hashed, what must be read again is sealed with the server's master key."""

from __future__ import annotations

import hashlib
import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12


class SealBroken(Exception):
    """The text was sealed with another master key, for another purpose, or was changed."""


class Seal:
    """AES-256-GCM under a key derived from the master key, which is 32 bytes in URL-safe base 64."""

    def __init__(self, master_key: str):
        self._master = urlsafe_b64decode(master_key)
        if len(self._master) != 32:
            raise ValueError("the master key must be 32 bytes in URL-safe base 64")
        self._cipher = AESGCM(self.derive("seal"))

    def derive(self, purpose: str) -> bytes:
        """A key of its own for each purpose, so that one use says nothing about another."""
        return hmac.digest(self._master, purpose.encode(), "sha256")

    def close(self, text: str, context: str) -> str:
        """`text` sealed; only the same `context` opens it."""
        nonce = os.urandom(_NONCE_BYTES)
        return urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), context.encode())).decode()

    def open(self, sealed: str, context: str) -> str:
        """The text that was sealed; `SealBroken` if it was not sealed here, for this."""
        raw = urlsafe_b64decode(sealed)
        try:
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], context.encode()).decode()
        except InvalidTag:
            raise SealBroken(context) from None


def new_master_key() -> str:
    """A fresh master key."""
    return urlsafe_b64encode(os.urandom(32)).decode()


def hashed(secret: str) -> str:
    """The form in which a secret of full entropy is looked up."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
