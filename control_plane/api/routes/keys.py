"""Where secret keys and public tokens are made."""

from __future__ import annotations

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.keys import (
    ClaimsReply,
    JwtBody,
    KeyMadeReply,
    KeyReply,
    KeysReply,
    NewKeyBody,
    PublicTokenBody,
    PublicTokenReply,
    RotateBody,
)
from sojourn.control_plane.api.models.shape import Nothing
from sojourn.control_plane.api.routes.route import Route

_API_KEY = ("API_KEY_NOT_FOUND",)

ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/api/v1/keys",
        "keys.list",
        Caller.ENVIRONMENT,
        "List secret keys: those that open, and those that ended within 30 days",
        KeysReply,
        needs=needs.MANAGE_KEYS,
    ),
    Route(
        "POST",
        "/api/v1/keys",
        "keys.create",
        Caller.ENVIRONMENT,
        "Create a secret key, which is shown this once, and to a repetition of the request within a day",
        KeyMadeReply,
        body=NewKeyBody,
        codes=("HEADERS_INVALID", "API_KEY_OVER", "SCOPES_EXCEEDED", "TOO_MANY_API_KEYS"),
        needs=needs.MANAGE_KEYS,
    ),
    Route(
        "POST",
        "/api/v1/keys/{id}/rotate",
        "keys.rotate",
        Caller.ENVIRONMENT,
        "Create a key in place of another, which opens for a day more, or as long as is said",
        KeyMadeReply,
        body=RotateBody,
        codes=(*_API_KEY, "HEADERS_INVALID", "API_KEY_OVER", "SCOPES_EXCEEDED", "TOO_MANY_API_KEYS"),
        needs=needs.MANAGE_KEYS,
    ),
    Route(
        "POST",
        "/api/v1/keys/{id}/revoke",
        "keys.revoke",
        Caller.ENVIRONMENT,
        "End a key at once",
        KeyReply,
        body=Nothing,
        codes=(*_API_KEY, "ROOT_KEY_STAYS", "SCOPES_EXCEEDED"),
        needs=needs.MANAGE_KEYS,
    ),
    Route(
        "POST",
        "/api/v1/auth/jwt/claims",
        "public_tokens.claims",
        Caller.ENVIRONMENT,
        "What a public token says of the environment, for whoever signs with its root key",
        ClaimsReply,
        body=Nothing,
        needs=needs.HAND_ON,
        counted=False,
    ),
    Route(
        "POST",
        "/api/v1/auth/public-tokens",
        "public_tokens.create",
        Caller.ENVIRONMENT,
        "Create a public token, with scopes that the key has",
        PublicTokenReply,
        body=PublicTokenBody,
        codes=("SCOPES_EXCEEDED",),
        needs=needs.HAND_ON,
    ),
    Route(
        "POST",
        "/api/v1/auth/jwt",
        "public_tokens.create_jwt",
        Caller.ENVIRONMENT,
        "The same in the words of older clients",
        PublicTokenReply,
        body=JwtBody,
        codes=("SCOPES_EXCEEDED",),
        needs=needs.HAND_ON,
    ),
)
