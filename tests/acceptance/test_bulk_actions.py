"""Bulk actions and variables through everything real, also when the scheduler dies in the middle."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.stack import Stack, until

from sojourn.sdk.bulk_actions import BulkActions
from sojourn.sdk.run import Runs
from sojourn.sdk.tasks import tasks

PATIENCE = 60


def test_the_scheduler_dies_in_the_middle_of_a_replay(own_stack, tmp_path: Path):
    note = tmp_path / "struck"
    stack = own_stack(SOJOURN_FAULTS=f"bulk.after_act=kill:0.05:once={note};seed=4")  # at its 49th run
    client = stack.client()
    made = [client.trigger("echo", {"n": n}, {"tags": ["old"]})["id"] for n in range(120)]
    begun = Runs(client).bulk_replay(tag="old")
    over = BulkActions(client).wait(begun, 3 * PATIENCE)
    assert note.exists(), "the fault never struck"
    assert (over.status, over.total, over.succeeded, over.failed) == ("COMPLETED", 120, 120, 0)
    replays = [run.id for run in Runs(client).list(bulk_action=over.id)]
    assert len(set(replays)) == 120 and not set(replays) & set(made)
    for run in replays:
        assert until(lambda run=run: client.result(run, wait=5), PATIENCE, f"{run} ends")["ok"]
    assert len(list(Runs(client).list(tag="old"))) == 240
    until(lambda: not stack.violations(), 20, "every invariant holds")


def test_many_runs_are_cancelled_by_the_command_line(stack: Stack):
    client = stack.client()
    made = [client.trigger("echo", options={"tags": ["doomed"], "delay": "1h"})["id"] for _ in range(130)]
    told = json.loads(stack.cli("runs", "cancel", "--tag", "doomed", "--json", "--yes").stdout)
    assert (told["status"], told["counts"]) == ("COMPLETED", {"total": 130, "success": 130, "failure": 0})
    assert {run.id for run in Runs(client).list(bulk_action=told["id"], status="CANCELED")} == set(made)


def test_a_run_finds_the_variables_of_its_environment(stack: Stack):
    stack.cli("env", "set", "ZOO_COLOUR", "green")
    stack.cli("env", "set", "ZOO_SECRET", "CANARY-51c2", "--secret")
    names = ["ZOO_COLOUR", "ZOO_SECRET"]
    first = tasks.trigger_and_wait("variables", names, client=stack.client())
    assert first.unwrap() == {"ZOO_COLOUR": "green", "ZOO_SECRET": "CANARY-51c2"}
    stack.cli("env", "set", "ZOO_COLOUR", "blue")
    stack.cli("env", "unset", "ZOO_SECRET")
    again = tasks.trigger_and_wait("variables", names, client=stack.client())
    assert again.unwrap() == {"ZOO_COLOUR": "blue", "ZOO_SECRET": None}
    stack.cli("env", "unset", "ZOO_COLOUR")
    logs = [path for path in Path(stack.data_dir).rglob("*.log") if path.is_file()]
    assert logs and not [path for path in logs if b"CANARY-51c2" in path.read_bytes()]
