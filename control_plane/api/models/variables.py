"""Environment variables."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, RootModel, StringConstraints

from sojourn.control_plane.api.models.shape import Reply, Strict, SuccessReply


class VariableBody(Strict):
    """A variable. A secret is shown to nobody but runs, and stays one."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
    value: str = Field(description="65536 bytes at most.")
    isSecret: bool | None = None


class ValueBody(Strict):
    """Another value for a variable."""

    value: str = Field(description="65536 bytes at most.")


class ImportBody(Strict):
    """Variables that are set together, all or none."""

    variables: dict[str, str] = Field(description="Values by names; in a form: the text of a dotenv file.")
    override: bool | None = Field(default=None, description="`true`: those that are there get the new value.")
    isSecret: bool | None = None
    parentVariables: dict[str, str] | None = Field(default=None, description="Accepted from clients and not used.")
    source: dict[str, Any] | None = Field(default=None, description="Accepted from clients and not used.")


class ImportedReply(SuccessReply):
    """What became of variables that were set together."""

    created: int
    updated: int = Field(description="They were there, and have the new value, be it the old one.")
    kept: list[str] = Field(description="Names that were there, and have kept their value without `override`.")
    skippedLines: list[int] | None = Field(
        default=None, description="Of a dotenv file, where lines hold no variable: their numbers, the first 1000."
    )


class VariableReply(Reply):
    """A variable; the value of a secret reads `<redacted>`."""

    name: str
    value: str
    isSecret: bool


class VariablesReply(RootModel[list[VariableReply]]):
    """Variables by their names."""


class ResolvedReply(Reply):
    """What a run is given: values by names."""

    variables: dict[str, str]
