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
from sojourn.sdk.sizes import exceeds


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a run's metadata: replaced first, if it is, then changed. `field`: what the caller calls it."""

    field: str
    operations: Sequence[Operation] = ()
    replacement: Mapping[str, Any] | None = None


#: Whose metadata a run changes.
RELATIVES = ("run", "parent", "root")
#: Changes of one call that do not fit, before those that follow are not tried.
_REFUSALS = 20


@dataclass(frozen=True, slots=True)
class NumberedChange:
    """A change that a run's own code makes. Its number is above those of all that were made before it."""

    number: int
    whose: str
    operation: Operation


class Annotating:
    """Metadata is JSON text of an object; none is an empty one."""

    def __init__(self, runs: Runs, annotations: Annotations):
        self._runs = runs
        self._annotations = annotations

    def metadata(self, environment: Environment, run_id: str) -> dict[str, Any]:
        """A run's metadata. `RunNotFound`."""
        return _read(self._find(environment, run_id).metadata)

    def change_metadata(
        self,
        environment: Environment,
        run_id: str,
        own: Change,
        parents: Change,
        roots: Change,
        request_key: str | None = None,
    ) -> dict[str, Any]:
        """Changes a run's metadata, its parent's and its root's, all or nothing; its own afterwards.

        What is meant for a relative that it has not is the run's own. A request that is repeated counts once.
        `RunNotFound`, `MetadataInvalid`, `MetadataTooLarge`.
        """
        run = self._find(environment, run_id)
        changes = {run.id: [own]}
        for change, relative in ((parents, run.parent_run_id), (roots, run.root_run_id)):
            if change.operations:
                changes.setdefault(relative or run.id, []).append(change)
        self._annotations.change_metadata(
            environment.id,
            run.id,
            list(changes),
            lambda held: {name: _changed(text, changes[name]) for name, text in held.items()},
            request_key,
        )
        return self.metadata(environment, run_id)

    def change_from_run(self, environment_id: str, run_id: str, changes: Sequence[NumberedChange]) -> list[str]:
        """Makes changes that a run's code asks for, in order, each once however often it is told; why some are refused.

        One that does not fit keeps no other from being made: the code that asked for it has gone on.
        """
        run = self._runs.find(environment_id, run_id)
        if run is None:
            return []
        places = {"run": run.id, "parent": run.parent_run_id or run.id, "root": run.root_run_id or run.id}
        names = sorted({run.id, *(places[change.whose] for change in changes)})
        refused: list[str] = []

        def change(held: Mapping[str, str | None], since: int) -> Mapping[str, str]:
            refused.clear()
            fresh = [each for each in changes if each.number > since]
            wanted = {name: [each.operation for each in fresh if places[each.whose] == name] for name in held}
            return {name: _as_far_as_possible(held[name], asked, refused) for name, asked in wanted.items() if asked}

        self._annotations.change_from_run(environment_id, run.id, names, changes[-1].number, change)
        return refused

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


def _as_far_as_possible(text: str | None, operations: Sequence[Operation], refused: list[str]) -> str:
    """Metadata after all of the operations, or after those that fit; of the others, why not.

    Those that do not fit are found by halving, so that one among thousands costs a few tries; after some the rest is left.
    """
    value, left, bad = _read(text), [list(operations)], 0
    while left and bad < _REFUSALS:
        some = left.pop()
        try:
            changed = metadata.applied(value, some)
            _written(changed)
        except (BadOperation, MetadataInvalid, MetadataTooLarge) as error:
            if len(some) > 1:
                left += [some[len(some) // 2 :], some[: len(some) // 2]]
                continue
            bad += 1
            why = error.why if isinstance(error, BadOperation) else error.message
            refused.append(f"{some[0].kind} {some[0].key[:80]!r}: {why}")
        else:
            value = changed
    if left:
        refused.append(f"{sum(map(len, left))} changes after so many that do not fit")
    return _written(value)


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
    if exceeds(text, MAX_METADATA_BYTES):
        raise MetadataTooLarge(field="metadata")
    return text
