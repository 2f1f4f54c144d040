"""Bulk actions through the SDK until they are complete: runs without a version are replayed, then all are cancelled."""

from __future__ import annotations

import os
import time

from tests.support.stack import Stack

from bench.measure import row, stack
from sojourn.sdk.bulk_actions import BulkActions, BulkActionState
from sojourn.sdk.run import Runs
from sojourn.sdk.tasks import tasks


def main() -> None:
    """One row for each kind. No version has the task."""
    runs = int(os.environ.get("SOJOURN_BENCH_ITEMS", 5_000))
    with stack() as made:
        tasks.batch_trigger("nothing", [{"n": n} for n in range(runs)], client=made.client())
        acted(made, "replayed", Runs(made.client()).bulk_replay(everything=True))
        acted(made, "cancelled", Runs(made.client()).bulk_cancel(everything=True))


def acted(of: Stack, how: str, begun: BulkActionState) -> None:
    """How long an action took, in the scheduler and from its call on."""
    asked = time.perf_counter()
    over = BulkActions(of.client()).wait(begun)
    took = time.perf_counter() - asked
    assert (over.status, over.failed) == ("COMPLETED", 0), over
    row(f"bulk action: {over.succeeded} runs {how}", s=took, per_s=over.succeeded / took)
