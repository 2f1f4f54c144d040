"""The table of moves: every pair is decided, every status has a way out, docs and SQL are drawn from it."""

from __future__ import annotations

import itertools

import pytest

from sojourn.control_plane.domain import lifecycle
from sojourn.control_plane.domain.lifecycle import TRANSITIONS, Event, IllegalMove, move
from sojourn.sdk.protocol import FINAL_STATUSES, RunStatus, SnapshotStatus

PAIRS = list(itertools.product([None, *SnapshotStatus], Event))


@pytest.mark.parametrize(("source", "event"), PAIRS)
def test_every_pair_moves_or_is_refused(source, event):
    rows = [row for row in TRANSITIONS if (row.source, row.event) == (source, event)]
    if rows:
        assert move(source, event) is rows[0]
        assert len(rows) == 1
    else:
        with pytest.raises(IllegalMove, match=event):
            move(source, event)


def test_every_status_but_the_last_has_a_way_to_the_end():
    ends = {SnapshotStatus.FINISHED}
    while True:
        grown = ends | {row.source for row in TRANSITIONS if row.target in ends and row.source}
        if grown == ends:
            break
        ends = grown
    assert ends == set(SnapshotStatus)


def test_nothing_leaves_finished():
    assert not [row for row in TRANSITIONS if row.source is SnapshotStatus.FINISHED]


@pytest.mark.parametrize("status", [status for status in SnapshotStatus if status is not SnapshotStatus.FINISHED])
def test_cancel_works_in_every_status(status):
    if status is SnapshotStatus.PENDING_CANCEL:
        assert move(status, Event.CANCEL_ACKNOWLEDGED).target is SnapshotStatus.FINISHED
    else:
        assert move(status, Event.CANCEL).shows == (RunStatus.CANCELED,)


def test_final_statuses_are_shown_by_finished_runs_and_cancelled_ones_that_still_stop():
    for snapshot, status in lifecycle.shown_pairs():
        if status in FINAL_STATUSES:
            assert snapshot is SnapshotStatus.FINISHED or status is RunStatus.CANCELED
        else:
            assert snapshot is not SnapshotStatus.FINISHED


def test_the_diagram_has_every_row():
    assert lifecycle.as_mermaid().count("-->") == len(TRANSITIONS) + 1


def test_slots_are_held_only_while_leased():
    assert lifecycle.SLOT_HOLDING <= lifecycle.LEASED
