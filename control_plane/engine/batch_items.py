"""The items of a batch become runs, many in one statement. One that cannot be triggered becomes a run that failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sojourn.control_plane.domain import ids
from sojourn.control_plane.domain.debounce import Debounce
from sojourn.control_plane.domain.failure import internal_error
from sojourn.control_plane.engine.debouncing import Debouncing, NotStored
from sojourn.control_plane.engine.errors import RegionUnknown
from sojourn.control_plane.engine.triggering import Triggering, TriggerRequest
from sojourn.control_plane.store.batches import BatchItem
from sojourn.control_plane.store.database import Row
from sojourn.control_plane.store.records import Batch, Environment
from sojourn.control_plane.store.runs import Runs
from sojourn.sdk.protocol import ErrorCode, SnapshotStatus

#: A key may be released and taken again by others, while this looks whom it leads to.
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why an item cannot be triggered."""

    code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Item:
    """One run that a batch asks for, at its position among them. With a flaw, `request` has the task and no more."""

    position: int
    request: TriggerRequest
    flaw: Flaw | None = None


class BatchItems:
    """Everything here happens within the transaction in which the items are added to their batch."""

    def __init__(
        self, runs: Runs, triggering: Triggering, debouncing: Debouncing, random: Callable[[int], bytes] = os.urandom
    ):
        self._runs = runs
        self._triggering = triggering
        self._debouncing = debouncing
        self._random = random

    def store(
        self, environment: Environment, batch: Batch, items: Sequence[Item], now: datetime
    ) -> tuple[list[BatchItem], list[Row]]:
        """What each item became, and the rows of the runs that are new and have yet to be queued."""
        documents = [
            self._document(environment, batch, item, run_id, now)
            for item, run_id in zip(items, self._ids(len(items), now), strict=True)
        ]
        wishes = {
            document["id"]: item.request.debounce
            for item, document in zip(items, documents, strict=True)
            if item.request.debounce is not None and not document.get("error")
        }
        stored = self._runs.insert([each for each in documents if each["id"] not in wishes])
        held = self._held(environment, [each for each in documents if each["id"] not in wishes], stored, now)
        for document in documents:
            if document["id"] in wishes:
                self._debounce(environment, document, wishes[document["id"]], stored, held, now)
        left = [each for each in documents if each["id"] not in stored and each["id"] not in held]
        if left:
            flaw = self._parent_is_over(environment, batch)
            stored |= self._runs.insert([_failed(each, flaw or _version_or_chance(each)) for each in left])
        made = [
            BatchItem(
                item.position,
                held.get(document["id"], document["id"]),
                document["id"] in held,
                stored.get(document["id"], {}).get("error") is not None,
            )
            for item, document in zip(items, documents, strict=True)
        ]
        return made, [row for row in stored.values() if row["snapshot_status"] != SnapshotStatus.FINISHED]

    def _debounce(
        self,
        environment: Environment,
        document: dict[str, Any],
        wish: Debounce,
        stored: dict[str, Row],
        held: dict[str, str],
        now: datetime,
    ) -> None:
        """An item with a debounce key: its idempotency key comes first, as where a run is triggered by itself."""
        name = _name(document)
        if document["idempotency_key"]:
            self._runs.forget_idempotency_keys(environment.id, [name], now)
            holder = self._runs.holders(environment.id, [name]).get(name)
            if holder is not None:
                held[document["id"]] = holder
                return
        try:
            made = self._debouncing.within(wish, document, now)
        except NotStored:
            return
        if made.stored is None:
            held[document["id"]] = made.run
        else:
            stored[made.run] = made.stored

    def _ids(self, count: int, now: datetime) -> list[str]:
        """Ids in the order of the items: runs that are queued in the same moment are taken in the order of their ids."""
        return [ids.make("run", now, drawn) for drawn in sorted(self._random(ids.RANDOM_BYTES) for _ in range(count))]

    def _document(self, environment: Environment, batch: Batch, item: Item, run_id: str, now: datetime) -> dict[str, Any]:
        flaw, request = item.flaw, replace(item.request, parent_run_id=batch.parent_run_id)
        try:
            document = self._triggering.document(environment, request, now)
        except RegionUnknown as error:
            flaw = Flaw(ErrorCode.BATCH_ITEM_COULD_NOT_TRIGGER, error.message)
            document = self._triggering.document(environment, replace(request, region=None), now)
        document |= {"id": run_id, "batch": batch.id}
        return document if flaw is None else _failed(document, flaw)

    def _held(
        self, environment: Environment, documents: Sequence[dict[str, Any]], stored: dict[str, Row], now: datetime
    ) -> dict[str, str]:
        """Of what was not stored because an idempotency key stands for a run already, that run; by the item's own id.

        A key may be released meanwhile, or its time is over: then the item has a run of its own after all.
        """
        left = [each for each in documents if each["idempotency_key"] and each["id"] not in stored]
        held: dict[str, str] = {}
        for _ in range(_TRIES):
            if not left:
                break
            names = sorted({_name(each) for each in left})
            self._runs.forget_idempotency_keys(environment.id, names, now)
            holders = self._runs.holders(environment.id, names)
            held |= {each["id"]: holders[_name(each)] for each in left if _name(each) in holders}
            free = [each for each in left if each["id"] not in held]
            if free:
                stored |= self._runs.insert(free)
            left = [each for each in free if each["id"] not in stored]
        return held

    def _parent_is_over(self, environment: Environment, batch: Batch) -> Flaw | None:
        parent = self._runs.find(environment.id, batch.parent_run_id) if batch.parent_run_id else None
        if parent and parent.snapshot_status in (SnapshotStatus.FINISHED, SnapshotStatus.PENDING_CANCEL):
            return Flaw(
                ErrorCode.BATCH_ITEM_COULD_NOT_TRIGGER, f"the run {parent.id}, its parent, has ended: {parent.status}"
            )
        return None


def _name(document: dict[str, Any]) -> tuple[str, str]:
    return document["task"], document["idempotency_key"]


def _version_or_chance(document: dict[str, Any]) -> Flaw:
    version, name = document["version"], document["external"]
    why = (
        f"version {version} was never deployed here, or has no task {document['task']}"
        if version
        else f"what was deployed as {name[:80]!r} has no task {document['task']}"
        if name
        else "the run could not be stored: try again"
    )
    return Flaw(ErrorCode.BATCH_ITEM_COULD_NOT_TRIGGER, why)


def _failed(document: dict[str, Any], flaw: Flaw) -> dict[str, Any]:
    """The same run, over before it began: it holds no key, and needs no version."""
    over = {
        "error": internal_error(flaw.code, flaw.message),
        "idempotency_key": None,
        "version": None,
        "delay_until": None,
        "external": None,
    }
    return document | over
