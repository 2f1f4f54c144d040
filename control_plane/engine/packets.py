"""Large payloads and outputs: kept in the object store under names that runs have, and read where they are needed.

A payload is stored before its run, so that a run never lacks it; an output that the store does not take stays in the
database, so that no result is lost. What no run names is removed by a sweep.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sojourn.control_plane.domain import ids
from sojourn.control_plane.engine.errors import PacketMissing, PacketsUnavailable
from sojourn.control_plane.engine.grants import Grants
from sojourn.control_plane.store.objects import ObjectMissing, Objects, ObjectsUnavailable, Opened
from sojourn.control_plane.store.packets import PACKETS, STORED, packet_name, served_type, type_of, upload_name
from sojourn.control_plane.store.packets import Packets as StoredPackets
from sojourn.control_plane.store.records import Run
from sojourn.sdk.protocol import MAX_INLINE_BYTES, MAX_PAYLOAD_BYTES
from sojourn.sdk.sizes import ESCAPED

log = logging.getLogger(__name__)

#: How long an address of an object is good.
URL_LIFE = timedelta(hours=1)
#: Bytes of an upload, at most: a payload whose letters are escaped, in the envelope that some clients put it into.
MAX_UPLOAD_BYTES = ESCAPED * MAX_PAYLOAD_BYTES + 1024 * 1024


@dataclass(frozen=True, slots=True)
class Text:
    """A payload or an output: a text of that media type."""

    text: str
    media_type: str


class Packets:
    """`api_url`: where objects are reached that the store has no addresses of its own for."""

    def __init__(
        self,
        objects: Objects,
        grants: Grants,
        stored: StoredPackets,
        api_url: str,
        random: Callable[[int], bytes] = os.urandom,
    ):
        self._objects = objects
        self._grants = grants
        self._stored = stored
        self._api_url = api_url.rstrip("/")
        self._random = random

    # --- written

    def kept(self, environment_id: str, packet: Text, now: datetime, inline: int = MAX_INLINE_BYTES) -> Text:
        """A payload as its run has it: as it is, or of more than `inline` bytes the name of an object.

        `PacketsUnavailable`.
        """
        data = _large(packet.text, inline)
        if data is None:
            return packet
        packet_id = ids.make("packet", now, self._random(ids.RANDOM_BYTES))
        name = packet_name(environment_id, packet_id, packet.media_type)
        self._put(name, [data])
        return Text(name, STORED)

    def kept_if_possible(self, environment_id: str, packet: Text, now: datetime) -> Text:
        """The same for an output: where the store does not answer, it is its run's own text."""
        try:
            return self.kept(environment_id, packet, now)
        except PacketsUnavailable as error:
            log.warning("an output of %d characters stays in the database: %s", len(packet.text), error)
            return packet

    def upload(self, name: str, data: Iterable[bytes]) -> int:
        """Stores what a client sends to the address that it was given; how many bytes. `PacketsUnavailable`."""
        return self._put(name, data)

    def lost(self, name: str) -> None:
        """A packet that no run took, after all, is removed by and by; one that a run has stays."""
        self._stored.lost([name])

    # --- read

    def whole(self, run: Run) -> Run:
        """A run with its payload and output as texts. `PacketsUnavailable`, `PacketMissing`."""
        return self.with_payload(self.with_output(run))

    def with_payload(self, run: Run) -> Run:
        """A run with its payload as a text."""
        if run.payload_type != STORED or run.payload is None:
            return run
        found = self._read(run.environment_id, run.payload)
        return replace(run, payload=found.text, payload_type=found.media_type)

    def with_output(self, run: Run) -> Run:
        """A run with its output as a text."""
        if run.output_type != STORED or run.output is None:
            return run
        found = self._read(run.environment_id, run.output)
        return replace(run, output=found.text, output_type=found.media_type)

    def uploaded(self, environment_id: str, path: str) -> Text:
        """What a client has uploaded. `PacketMissing`, `PacketsUnavailable`; `ValueError` for no path, or too much."""
        opened = self._open(upload_name(environment_id, path))
        if opened.size > MAX_UPLOAD_BYTES:
            raise ValueError(f"the upload has more than {MAX_UPLOAD_BYTES} bytes")
        return Text(_text(opened).decode(), opened.media_type or type_of(path))

    def open(self, name: str) -> Opened:
        """An object's bytes, for whoever was given its address. `PacketsUnavailable`, `PacketMissing`."""
        return self._open(name)

    # --- addresses

    def url(self, environment_id: str, name: str, now: datetime) -> str | None:
        """Where an environment's packet can be read for an hour; None for what is not the environment's."""
        return self._url(name, now) if _is_own(environment_id, name) else None

    def upload_url(self, environment_id: str, path: str, now: datetime, method: str) -> str:
        """Where a client may write its upload, or read it. `ValueError` for what is no path."""
        return self._url(upload_name(environment_id, path), now, method)

    def _url(self, name: str, now: datetime, method: str = "GET") -> str:
        """The store's own address if it has such."""
        # A client's upload is given back as the type that it was sent as, where the store knows that.
        media_type = served_type(name) if method == "GET" and name.startswith(PACKETS) else None
        try:
            direct = self._objects.url(name, method, int(URL_LIFE.total_seconds()), media_type)
        except ObjectsUnavailable as error:
            raise PacketsUnavailable(f"{error}") from error
        return direct or f"{self._api_url}/api/v1/objects/{self._grants.make(method, name, now + URL_LIFE)}"

    def _read(self, environment_id: str, name: str) -> Text:
        if not _is_own(environment_id, name):
            raise PacketMissing
        opened = self._open(name)
        return Text(_text(opened).decode(), type_of(name))

    def _open(self, name: str) -> Opened:
        try:
            return self._objects.open(name)
        except ObjectMissing:
            raise PacketMissing from None
        except ObjectsUnavailable as error:
            raise PacketsUnavailable(f"{error}") from error

    def _put(self, name: str, data: Iterable[bytes]) -> int:
        try:
            return self._objects.put(name, data)
        except ObjectsUnavailable as error:
            raise PacketsUnavailable(f"{error}") from error


def is_large(text: str | None) -> bool:
    """Whether a payload is too large to lie beside a run."""
    return text is not None and _large(text, MAX_INLINE_BYTES) is not None


def _large(text: str, inline: int) -> bytes | None:
    """A text's bytes, if they are more than that."""
    if 4 * len(text) <= inline:
        return None
    data = text.encode()
    return data if len(data) > inline else None


def _is_own(environment_id: str, name: str) -> bool:
    """Whether an object that a run names is its environment's; whoever has written another's, it is not read."""
    return name.startswith(f"{PACKETS}{environment_id}/")


def _text(opened: Opened) -> bytes:
    try:
        return b"".join(opened.chunks)
    except ObjectsUnavailable as error:
        raise PacketsUnavailable(f"{error}") from error
