"""Secret keys and public tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator

from sojourn.control_plane.api import patterns
from sojourn.control_plane.api.models.shape import Nothing, Reply, Strict
from sojourn.control_plane.api.models.texts import IDENTIFIER, Duration, DurationOrDate
from sojourn.control_plane.domain import scopes
from sojourn.sdk import scope_words

MAX_SCOPES = 200


def _of_key(text: str) -> str:
    if not scopes.is_known(text):
        raise ValueError(scope_words.refusal(text, public=False))
    return text


def _of_token(text: str) -> str:
    if not scopes.is_known(text, public=True):
        raise ValueError(scope_words.refusal(text, public=True))
    return text


_KeyScopes = Annotated[
    list[Annotated[str, AfterValidator(_of_key), patterns.KEY_SCOPE]], Field(min_length=1, max_length=MAX_SCOPES)
]
_TokenScopes = Annotated[
    list[Annotated[str, AfterValidator(_of_token), patterns.TOKEN_SCOPE]], Field(min_length=1, max_length=MAX_SCOPES)
]
_KeyName = Annotated[str, StringConstraints(min_length=1, max_length=100), IDENTIFIER]
#: Seconds since the epoch.
_Epoch = Annotated[int, Field(ge=0, le=2**53)]


class NewKeyBody(Strict):
    """A key beside the root key."""

    name: _KeyName | None = Field(default=None, description="For people.")
    scopes: _KeyScopes | None = Field(
        default=None,
        description="What it may do: `admin`, or `action:type[:id]` each. Absent: everything.",
        json_schema_extra=patterns.never_null,
    )
    expires: DurationOrDate | None = Field(
        default=None, description='When it ends: a duration ("90d") or an ISO date; not after the key that makes it.'
    )

    @field_validator("scopes", mode="before")
    @classmethod
    def _are_said(cls, scopes: Any) -> Any:
        """A client that has lost its scopes is not to get a key to everything."""
        if scopes is None:
            raise ValueError("null is no list: leave it out for a key that may do everything")
        return scopes


class RotateBody(Nothing):
    """How long the old key opens."""

    gracePeriod: Duration | None = Field(
        default=None, description='A duration of 30 days at most; "24h" if absent, "0s" ends it at once.'
    )


class Realtime(Strict):
    """What feeds of runs leave out."""

    skipColumns: Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(max_length=50)] | None = None


class PublicTokenBody(Strict):
    """A public token."""

    scopes: _TokenScopes = Field(description="`action:type[:id]` each, or `admin`; each within what the key may do.")
    expirationTime: DurationOrDate | _Epoch | None = Field(
        default=None,
        description='A duration ("1h"), a date, or seconds since the epoch; 30 days ahead at most, and not after the end of'
        " the key. `15m` if absent.",
    )
    oneTimeUse: bool | None = Field(default=None, description="It works for one request.")
    realtime: Realtime | None = None


class JwtClaims(BaseModel):
    """What the token is to say; claims of no meaning here are passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)

    scopes: _TokenScopes | None = None
    otu: bool | None = Field(default=None, description="It works for one request.")
    realtime: Realtime | None = None


class JwtBody(Nothing):
    """A public token, as older clients ask for it."""

    claims: JwtClaims | None = None
    expirationTime: DurationOrDate | _Epoch | None = Field(
        default=None, description="As for `/api/v1/auth/public-tokens`; `1h` if absent."
    )


class KeyReply(Reply):
    """A secret key, without its secret."""

    id: str
    hint: str = Field(description="Its prefix and last four characters.")
    isRoot: bool = Field(description="It signs public tokens and may do everything.")
    status: Literal["ACTIVE", "REPLACED", "EXPIRED", "REVOKED"] = Field(
        description="A key that was replaced opens until `expiresAt`."
    )
    createdAt: datetime
    name: str | None = None
    scopes: list[str] | None = Field(default=None, description="Absent: it may do everything.")
    expiresAt: datetime | None = None
    lastUsedAt: datetime | None = Field(default=None, description="To the minute.")
    revokedAt: datetime | None = None
    replacedBy: str | None = Field(default=None, description="The id of the key that a rotation made in its place.")


class KeyMadeReply(KeyReply):
    """A new secret key. `key` is the secret, which is shown this once."""

    key: str


class KeysReply(Reply):
    """Secret keys, root keys first."""

    data: list[KeyReply]


class ClaimsReply(Reply):
    """Claims of a public token, besides its scopes."""

    sub: str = Field(description="The environment's id.")
    pub: bool


class PublicTokenReply(Reply):
    """A public token."""

    token: str
