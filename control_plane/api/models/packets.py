"""Large payloads and outputs: the addresses where they are."""

from __future__ import annotations

from sojourn.control_plane.api.models.shape import Reply


class AddressReply(Reply):
    """An address that proves itself, for an hour."""

    presignedUrl: str


class UploadReply(AddressReply):
    """Where to PUT the payload; `storagePath` is what to trigger with."""

    storagePath: str


class WrittenReply(Reply):
    """How much was stored."""

    bytes: int
