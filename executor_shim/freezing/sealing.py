"""A stream that is encrypted and authenticated in chunks, so that both sides need the room of one chunk.

    magic (4)  salt (16)  { length and last flag (4)  ciphertext and tag }

AES-256-GCM under a key that is derived (HKDF-SHA256) from the image's own, the salt and the context: so no nonce is ever
used twice, and a stream is opened for its own context alone. A chunk's nonce is its number; its length, and whether it is
the last, are authenticated with it: a stream that is cut, put together anew or went on does not open.
"""

from __future__ import annotations

import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sojourn.executor_shim.freezing.errors import CheckpointInvalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Writable(Protocol):
        def write(self, data: bytes, /) -> object: ...

    class Readable(Protocol):
        def read(self, size: int, /) -> bytes: ...


KEY_BYTES = 32
_MAGIC = b"SJF1"
_SALT = 16
_CHUNK = 1 << 20
_TAG = 16
_FRAME = struct.Struct(">I")
_LAST = 1 << 31


class Sealer:
    """Writable; `close` writes the last chunk. What is under it is not closed."""

    def __init__(self, out: Writable, key: bytes, context: str):
        salt = os.urandom(_SALT)
        self._out = out
        self._cipher = _cipher(key, salt, context)
        self._number = 0
        self._pending = bytearray()
        #: Bytes written so far.
        self.written = 0
        self._put(_MAGIC + salt)

    def write(self, data: bytes) -> int:
        """Takes all of it."""
        self._pending += data
        while len(self._pending) > _CHUNK:  # the last chunk is not known before `close`
            self._seal(bytes(self._pending[:_CHUNK]), 0)
            del self._pending[:_CHUNK]
        return len(data)

    def close(self) -> None:
        """The end of the stream."""
        self._seal(bytes(self._pending), _LAST)
        self._pending.clear()

    def _seal(self, data: bytes, last: int) -> None:
        frame = _FRAME.pack((len(data) + _TAG) | last)
        self._put(frame + self._cipher.encrypt(_nonce(self._number), data, frame))
        self._number += 1

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self.written += len(data)


class Opener:
    """Readable: nothing that was not authenticated comes out of it. `CheckpointInvalid`, also at a wrong end."""

    def __init__(self, source: Readable, key: bytes, context: str):
        self._source = source
        head = self._exactly(len(_MAGIC) + _SALT)
        if not head.startswith(_MAGIC):
            raise CheckpointInvalid("the image has no beginning of one")
        self._cipher = _cipher(key, head[len(_MAGIC) :], context)
        self._number = 0
        self._chunk = memoryview(b"")
        self._is_over = False

    def read(self, size: int = _CHUNK) -> bytes:
        """Up to `size` bytes; empty at the end."""
        while not self._chunk and not self._is_over:
            self._open()
        data, self._chunk = bytes(self._chunk[:size]), self._chunk[size:]
        return data

    def finish(self) -> None:
        """Takes what is left; afterwards the whole stream was looked at."""
        while self.read():
            continue

    def _open(self) -> None:
        frame = self._exactly(_FRAME.size)
        told = _FRAME.unpack(frame)[0]
        length = told & ~_LAST
        if not _TAG <= length <= _CHUNK + _TAG:
            raise CheckpointInvalid("the image has a chunk of no possible length")
        try:
            data = self._cipher.decrypt(_nonce(self._number), self._exactly(length), frame)
        except InvalidTag:
            raise CheckpointInvalid(f"chunk {self._number} of the image was changed, or is another image's") from None
        self._number += 1
        self._chunk = memoryview(data)
        self._is_over = bool(told & _LAST)
        if self._is_over and self._source.read(1):
            raise CheckpointInvalid("the image goes on after its end")

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            data = self._source.read(size)
            if not data:
                raise CheckpointInvalid("the image is cut off")
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


def _cipher(key: bytes, salt: bytes, context: str) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError(f"an image's key has {KEY_BYTES} bytes, not {len(key)}")
    info = b"sojourn checkpoint\0" + context.encode()
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, info).derive(key))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
