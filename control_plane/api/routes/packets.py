"""Where large payloads and outputs go, and come from."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.packets import AddressReply, UploadReply, WrittenReply
from sojourn.control_plane.api.models.shape import Nothing
from sojourn.control_plane.api.routes.route import Route

_PACKET = ("PACKET_NOT_FOUND", "PACKETS_UNAVAILABLE")

ROUTES: tuple[Route, ...] = (
    Route(
        "PUT",
        "/api/v2/packets/{file}",
        "packets.begin_upload",
        Caller.ENVIRONMENT,
        "Where to upload a payload, that a trigger with the type application/store then names; it is kept for a day",
        UploadReply,
        body=Nothing,
        codes=("PARAMS_INVALID", "PACKETS_UNAVAILABLE"),
        needs=needs.UPLOAD,
        counted=False,
    ),
    Route(
        "GET",
        "/api/v1/packets/{file}",
        "packets.address",
        Caller.ENVIRONMENT,
        "Where to read what was uploaded",
        AddressReply,
        codes=("PARAMS_INVALID", "PACKETS_UNAVAILABLE"),
        needs=needs.READ_UPLOAD,
        counted=False,
    ),
    Route(
        "GET",
        "/api/v1/objects/{grant}",
        "packets.read",
        Caller.ANYONE,
        "A large payload or output, by the address that a run was retrieved with",
        None,
        codes=("GRANT_REFUSED", *_PACKET, "UNAVAILABLE"),
    ),
    Route(
        "PUT",
        "/api/v1/objects/{grant}",
        "packets.write",
        Caller.ANYONE,
        "Upload a payload to the address that was given for it",
        WrittenReply,
        streams=True,
        codes=("GRANT_REFUSED", "INVALID_JSON", "BODY_TOO_DEEP", "BODY_INVALID", "PACKETS_UNAVAILABLE", "UNAVAILABLE"),
    ),
)
