"""Packets: where clients upload payloads and read large ones, and the objects behind addresses that the platform gave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sojourn.control_plane.api.body import Stream
from sojourn.control_plane.api.call import Call, Streamed
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.tasks import SUPER_JSON, media_type, packet_text, unwrapped
from sojourn.control_plane.engine.grants import Grants
from sojourn.control_plane.engine.packets import MAX_UPLOAD_BYTES
from sojourn.control_plane.engine.packets import Packets as StoredPackets
from sojourn.control_plane.store.packets import served_type

_SURROGATE = re.compile("[\ud800-\udfff]")


class Packets:
    """`clock`: whoever has an object's address shows no key, so that the call has no time."""

    def __init__(self, packets: StoredPackets, grants: Grants, clock: Callable[[], datetime]):
        self._packets = packets
        self._grants = grants
        self._clock = clock

    def begin_upload(self, call: Call, file: str) -> dict[str, Any]:
        """Where to PUT a payload, and what to trigger with then."""
        return {"presignedUrl": self._url(call, file, "PUT"), "storagePath": file}

    def address(self, call: Call, file: str) -> dict[str, Any]:
        """Where to GET what was uploaded."""
        return {"presignedUrl": self._url(call, file, "GET")}

    def read(self, call: Call, grant: str) -> Streamed:
        """The object that an address is of."""
        name = self._grants.read("GET", grant, self._clock())
        opened = self._packets.open(name)
        return Streamed(opened.chunks, opened.size, served_type(name))

    def write(self, call: Call, grant: str) -> dict[str, Any]:
        """Stores a body as the object that an address is of. Nothing of it is read before the address has proved itself."""
        stream: Stream = call.body
        try:
            name = self._grants.read("PUT", grant, self._clock())
            return {"bytes": self._packets.upload(name, _plain(call, stream.chunks(MAX_UPLOAD_BYTES)))}
        except Exception:
            stream.leave()
            raise

    def _url(self, call: Call, file: str, method: str) -> str:
        try:
            return self._packets.upload_url(call.environment.id, file, call.now, method)
        except ValueError:
            raise Problem(
                "PARAMS_INVALID",
                "A file's name is a path of letters, digits, dots, dashes and underscores.",
                field="file",
                next_step="encode its slashes as %2F, and let no segment begin with a dot",
            ) from None


def _plain(call: Call, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """A body as it is kept. Whoever reads it goes by its name, so that JSON in an envelope is taken out of that."""
    if media_type(call.headers.get("CONTENT_TYPE")) != SUPER_JSON:
        return chunks
    value = unwrapped(b"".join(chunks).decode("utf-8", "replace"))
    packet_text(value, "payload")  # may it be one?
    # As it came, and not in ASCII, but for what UTF-8 has no bytes for: an upload has a limit of bytes.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return iter([_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode()])
