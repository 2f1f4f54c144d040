"""A run's metadata, and how it is changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from sojourn.control_plane.api.models.shape import Reply, Strict
from sojourn.control_plane.api.models.texts import IDENTIFIER
from sojourn.control_plane.api.models.triggers import Number

_Field = Annotated[str, StringConstraints(min_length=1, max_length=1_000), IDENTIFIER]


class SetField(Strict):
    """The field has the value, or has it appended to, or removed from, its list."""

    type: Literal["set", "append", "remove"]
    key: _Field = Field(description="A field's name, or a path like `$.steps.load[0]`.")
    value: Any


class DeleteField(Strict):
    """The field goes."""

    type: Literal["delete"]
    key: _Field


class IncrementField(Strict):
    """The field's number grows by the value."""

    type: Literal["increment"]
    key: _Field
    value: Number


class UpdateAll(Strict):
    """The value takes the place of all of it."""

    type: Literal["update"]
    value: dict[str, Any]


AnOperation = Annotated[SetField | DeleteField | IncrementField | UpdateAll, Field(discriminator="type")]
Operations = Annotated[list[AnOperation], Field(max_length=1_000)]


class MetadataBody(Strict):
    """What becomes of metadata, all or nothing: replaced, then changed, in this order."""

    metadata: dict[str, Any] | None = None
    metadataType: Literal["application/json"] | None = None
    operations: Operations = Field(default_factory=list)
    parentOperations: Operations = Field(default_factory=list, description="For the parent; without one, for the run.")
    rootOperations: Operations = Field(default_factory=list, description="For the root; without one, for the run.")


class MetadataReply(Reply):
    """A run's metadata; without any, an empty object."""

    metadata: dict[str, Any]
