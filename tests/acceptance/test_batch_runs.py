"""Batches through everything real: all of their runs end, once each, also when the control plane dies in the middle."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.stack import Stack, until

from sojourn.sdk.batch import BatchHandle, batch
from sojourn.sdk.tasks import tasks

#: One executor that freezes each of forty runs takes its time.
PATIENCE = 180


def completed(stack: Stack, handle: BatchHandle) -> tuple[str, ...]:
    """The runs of a batch, when all are over."""
    client = stack.client()
    until(lambda: handle.retrieve().status == "COMPLETED", PATIENCE, f"{handle.id} is completed")
    return batch.retrieve(handle.id, client=client).runs


def test_a_batch_from_its_trigger_to_its_results(stack: Stack):
    items = [{"n": n} for n in range(40)]
    handle = tasks.batch_trigger("echo", [*items, ({"n": 40}, {"region": "mars"})], client=stack.client())
    runs = completed(stack, handle)
    results = handle.results()
    assert [each.id for each in results] == list(runs)
    assert [each.output for each in results[:-1]] == items
    assert (results[-1].ok, results[-1].error["code"]) == (False, "BATCH_ITEM_COULD_NOT_TRIGGER")
    shown = stack.cli("batches", "get", handle.id).stdout
    assert f"{handle.id}: COMPLETED, 41 of 41 runs" in shown and "mars" in shown
    told = json.loads(stack.cli("batches", "results", handle.id, "--after", "38", "--json").stdout)
    assert [each["id"] for each in told["items"]] == list(runs[39:])
    listed = json.loads(stack.cli("runs", "list", "--batch", handle.id, "--status", "system_failure", "--json").stdout)
    assert [each["id"] for each in listed["data"]] == [runs[40]]


def test_the_control_plane_dies_with_items_stored_and_not_queued(own_stack, tmp_path: Path):
    note = tmp_path / "struck"
    stack = own_stack(SOJOURN_FAULTS=f"batch.after_store=kill:1:once={note}")
    handle = tasks.batch_trigger("echo", range(530), client=stack.client())
    assert note.exists(), "the fault never struck"
    runs = completed(stack, handle)
    assert len(set(runs)) == 530
    assert [each.output for each in handle.results()] == list(range(530))
    until(lambda: not stack.violations(), 20, "every invariant holds")
