"""Where tokens that runs wait for are made and completed."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.shape import SuccessReply
from sojourn.control_plane.api.models.tokens import (
    CompleteBody,
    TokenBody,
    TokenMadeReply,
    TokenReply,
    TokensQuery,
    TokensReply,
)
from sojourn.control_plane.api.models.triggers import MAX_VALUE_BYTES
from sojourn.control_plane.api.routes.route import KIB, Route

_TOKEN = ("WAITPOINT_NOT_FOUND",)

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/api/v1/waitpoints/tokens",
        "tokens.create",
        Caller.ENVIRONMENT,
        "Create a token, which runs can wait for",
        TokenMadeReply,
        body=TokenBody,
        limit=10 * KIB,
        codes=("TOO_MANY_TAGS", "ENGINE_ERROR"),
        needs=needs.CREATE_WAITPOINT,
    ),
    Route(
        "GET",
        "/api/v1/waitpoints/tokens",
        "tokens.page",
        Caller.ENVIRONMENT,
        "List tokens, newest first",
        TokensReply,
        query=TokensQuery,
        codes=("CURSOR_INVALID",),
        needs=needs.LIST_WAITPOINTS,
    ),
    Route(
        "GET",
        "/api/v1/waitpoints/tokens/{token}",
        "tokens.retrieve",
        Caller.ENVIRONMENT,
        "Retrieve a token",
        TokenReply,
        codes=_TOKEN,
        needs=needs.READ_WAITPOINT,
    ),
    Route(
        "POST",
        "/api/v1/waitpoints/tokens/{token}/complete",
        "tokens.complete",
        Caller.ENVIRONMENT,
        "Complete a token; one that is complete stays as it is",
        SuccessReply,
        body=CompleteBody,
        limit=MAX_VALUE_BYTES,
        codes=_TOKEN,
        needs=needs.WRITE_WAITPOINT,
    ),
    Route(
        "POST",
        "/api/v1/waitpoints/tokens/{token}/callback/{hash}",
        "tokens.call_back",
        Caller.ANYONE,
        "Complete a token by its callback URL, with the whole body; what is no JSON counts as {}",
        SuccessReply,
        streams=True,
        takes="application/json",
        codes=(*_TOKEN, "CALLBACK_REFUSED", "LENGTH_REQUIRED", "UNAVAILABLE"),
    ),
)
