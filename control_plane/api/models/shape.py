"""What every request and every answer has in common: what models are made of, and the texts that several of them hold."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

#: What clients send to other servers, and this release does not take.
Unsupported = WithJsonSchema({"type": "null"})
NotYet = Annotated[bool | None, WithJsonSchema({"enum": [False, None]})]


class Strict(BaseModel):
    """Takes its fields and no others, each of its own JSON type."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)


class Nothing(Strict):
    """No input, or none that is needed: an empty body, or an empty object."""


def plain(value: Any) -> Any:
    """A whole number as a query has it: digits alone, where Python reads `1_0` and ` 1`, too."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a whole number")
    return value


_DIGITS = re.compile("-?[0-9]{1,20}")
PLAIN = BeforeValidator(plain)


class Query(BaseModel):
    """Query parameters: texts that are read as their types; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


class Loose(BaseModel):
    """Takes its fields and passes over others."""

    model_config = ConfigDict(extra="ignore")


class Reply(BaseModel):
    """Fields that are absent are left out, never null."""

    model_config = ConfigDict(extra="forbid")


class IdReply(Reply):
    """An id."""

    id: str


class QueueName(Reply):
    """A queue."""

    name: str


class EnvironmentName(Reply):
    """An environment; `name` is its slug."""

    id: str
    name: str


class SuccessReply(Reply):
    """It is as was asked."""

    success: bool
