"""Metadata and tags of runs that were triggered: read and changed, by anybody who may see the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sojourn.control_plane.domain import metadata
from sojourn.control_plane.domain.metadata import BadOperation, Operation
from sojourn.control_plane.engine.errors import MetadataInvalid, MetadataTooLarge, RunNotFound, TooManyTags
from sojourn.control_plane.store.annotations import Annotations
from sojourn.control_plane.store.records import Environment, Run
from sojourn.control_plane.store.runs import Runs
from sojourn.sdk.protocol import MAX_METADATA_BYTES, MAX_TAGS


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a run's metadata: replaced first, if it is, then changed. `field`: what the caller calls it."""

    field: str
    operations: Sequence[Operation] = ()
    replacement: Mapping[str, Any] | None = None


class Annotating:
    """Metadata is JSON text of an object; none is an empty one."""

    def __init__(self, runs: Runs, annotations: Annotations):
        self._runs = runs
        self._annotations = annotations

    def metadata(self, environment: Environment, run_id: str) -> dict[str, Any]:
        """A run's metadata. `RunNotFound`."""
        return _read(self._find(environment, run_id).metadata)

    def change_metadata(
        self, environment: Environment, run_id: str, own: Change, parents: Change, roots: Change
    ) -> dict[str, Any]:
        """Changes a run's metadata, its parent's and its root's, all or nothing; its own afterwards.

        What is meant for a relative that it has not is the run's own. `RunNotFound`, `MetadataInvalid`, `MetadataTooLarge`.
        """
        run = self._find(environment, run_id)
        changes = {run.id: [own]}
        for change, relative in ((parents, run.parent_run_id), (roots, run.root_run_id)):
            if change.operations:
                changes.setdefault(relative or run.id, []).append(change)
        self._annotations.change_metadata(
            environment.id,
            list(changes),
            lambda held: {name: _changed(text, changes[name]) for name, text in held.items()},
        )
        return self.metadata(environment, run_id)

    def add_tags(self, environment: Environment, run_id: str, tags: Sequence[str]) -> None:
        """Adds tags that the run does not have yet. `RunNotFound`, `TooManyTags`."""
        run = self._find(environment, run_id)
        if tags and self._annotations.add_tags(environment.id, run.id, tags, MAX_TAGS) is None:
            raise TooManyTags(f"the run has {len(run.tags)} tags and would have more than {MAX_TAGS}", field="tags")

    def _find(self, environment: Environment, run_id: str) -> Run:
        run = self._runs.find(environment.id, run_id)
        if run is None:
            raise RunNotFound
        return run


def _read(text: str | None) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text) if text else {}
    return value


def _changed(text: str | None, changes: Sequence[Change]) -> str:
    value: Mapping[str, Any] = _read(text)
    for change in changes:
        value = value if change.replacement is None else change.replacement
        try:
            value = metadata.applied(value, change.operations)
        except BadOperation as error:
            raise MetadataInvalid(str(error), field=change.field) from None
    return _written(value)


def _written(value: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise MetadataInvalid("a number is too large for JSON", field="operations") from None
    if len(text) > MAX_METADATA_BYTES:
        raise MetadataTooLarge(field="metadata")
    return text
