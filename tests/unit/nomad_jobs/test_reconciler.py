"""Facts out of Nomad's JSON, and what each means for an executor: the table of the reconciler, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn.nomad_jobs.facts import Allocation, Fact, Gone, Unplaced, allocation, of_event, reason_of
from sojourn.nomad_jobs.reconciler import Action, Bind, Doubt, End, Ending, Recorded, Running, Stop, reconcile

JOB = "sojourn-env_1-v_1-micro/dispatch-executor_1-1795703783-ac5a9787"
NEW, BOUND = Recorded("executor_1", None, False), Recorded("executor_1", "a1", False)
ENDED, GIVEN_UP = Recorded("executor_1", "a1", True), Recorded("executor_1", "a1", False, is_given_up=True)
BIND, STOP = Bind("executor_1", JOB, "a1", "n1", "node"), Stop(JOB, "sojourn")


def told(status: str = "running", desired: str = "run", **more: Any) -> Allocation:
    given = {"id": "a1", "job": JOB, "executor": "executor_1", "namespace": "sojourn", "node": "n1", "node_name": "node"}
    return Allocation(**{**given, "status": status, "desired": desired, **more})


def end(why: Ending, reason: str, exit_code: int | None = None) -> End:
    return End("executor_1", why, reason, exit_code)


FULL = Unplaced(JOB, "executor_1", "sojourn", True, "dimension 'memory' exhausted on 1 node")
NO_NODE = Unplaced(JOB, "executor_1", "sojourn", False, "no nodes were eligible for evaluation")

CASES: dict[str, tuple[Recorded | None, Fact, list[Action]]] = {
    "somebody else's": (None, told(), []),
    "planned": (NEW, told("pending"), [BIND]),
    "runs": (BOUND, told(), [Running("executor_1")]),
    "seen late": (NEW, told(), [BIND, Running("executor_1")]),
    "left": (BOUND, told("complete", exit_code=0), [end(Ending.EXITED, "its process exited with code 0", 0)]),
    "over before it was seen": (
        NEW,
        told("failed", exit_code=3),
        [BIND, end(Ending.EXITED, "its process exited with code 3", 3)],
    ),
    "killed": (BOUND, told("failed", exit_code=-9), [end(Ending.EXITED, "its process was ended by SIGKILL", -9)]),
    "an odd signal": (
        BOUND,
        told("failed", exit_code=-99),
        [end(Ending.EXITED, "its process was ended by signal 99", -99)],
    ),
    "too much memory": (
        BOUND,
        told("failed", exit_code=-9, out_of_memory=True),
        [end(Ending.OUT_OF_MEMORY, "the kernel ended it: it used more memory than its allocation has", -9)],
    ),
    "the driver cannot": (
        BOUND,
        told("failed", failure="binary not found"),
        [end(Ending.NOT_STARTED, "Nomad could not start it: binary not found")],
    ),
    "ended without an exit": (
        BOUND,
        told("failed", has_started=True, failure="Failed tasks"),
        [end(Ending.LOST, "its allocation ended: Failed tasks")],
    ),
    "its node is lost": (BOUND, told("lost", "stop"), [Doubt("executor_1")]),
    "its node was lost for long": (
        GIVEN_UP,
        told("lost", "stop"),
        [end(Ending.LOST, "its node node is lost"), STOP],
    ),
    "its node is back": (GIVEN_UP, told(), [Running("executor_1")]),
    "disconnected": (BOUND, told("unknown"), []),
    "being stopped": (BOUND, told("running", "stop"), [Running("executor_1")]),
    "stopped before it began": (BOUND, told("pending", "stop"), []),
    "a replacement": (BOUND, told(id="a2"), []),
    "returned": (ENDED, told(), [STOP]),
    "replaced after its end": (ENDED, told("pending", id="a2"), [STOP]),
    "still being stopped": (ENDED, told("running", "stop"), []),
    "over, told again": (ENDED, told("complete", exit_code=0), []),
    "no room": (NEW, FULL, [end(Ending.FULL, f"waiting for capacity: {FULL.reason}"), STOP]),
    "no node": (NEW, NO_NODE, [end(Ending.NO_NODE, f"Nomad could not place it: {NO_NODE.reason}"), STOP]),
    "placed meanwhile": (BOUND, FULL, []),
    "given up meanwhile": (ENDED, FULL, [STOP]),
    "purged": (BOUND, Gone("executor_1"), [end(Ending.LOST, "its job is no longer known to Nomad")]),
    "only others are left": (BOUND, Gone("executor_1", "others"), [end(Ending.LOST, "others")]),
    "purged after its end": (ENDED, Gone("executor_1"), []),
    "foreign and gone": (None, Gone("executor_1"), []),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_to_be_done(case: str) -> None:
    recorded, fact, actions = CASES[case]
    assert reconcile(recorded, fact) == actions


def event(type_: str, **details: str) -> dict[str, Any]:
    return {"Type": type_, "Details": details, "DisplayMessage": details.get("message", type_)}


def row(*events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "ID": "a1",
        "JobID": JOB,
        "Namespace": "sojourn",
        "NodeID": "n1",
        "NodeName": "node",
        "ClientStatus": "failed",
        "DesiredStatus": "run",
        "TaskStates": {"shim": {"Events": list(events)}},
        **more,
    }


def test_an_exit_and_a_signal() -> None:
    exited = allocation(row(event("Started"), event("Terminated", exit_code="3", signal="0", oom_killed="false")))
    assert exited and (exited.exit_code, exited.has_started, exited.out_of_memory) == (3, True, False)
    killed = allocation(row(event("Terminated", exit_code="137", signal="9", oom_killed="true"), event("Killed")))
    assert killed and (killed.exit_code, killed.out_of_memory) == (-9, True)


def test_an_end_that_nomad_did_not_see_is_no_signal() -> None:
    unseen = allocation(row(event("Started"), event("Terminated", exit_code="-1", signal="0", oom_killed="false")))
    assert unseen and (unseen.exit_code, unseen.has_started) == (None, True)


def test_a_driver_failure_is_told_in_nomads_words() -> None:
    found = allocation(row(event("Driver Failure", message="no such binary\nat all"), event("Not Restarting")))
    assert found and (found.failure, found.exit_code, found.has_started) == ("no such binary", None, False)


@pytest.mark.parametrize("payload", [{}, {"Job": {"ID": JOB}}, {"Allocation": row(JobID="web")}, {"Evaluation": {}}])
def test_other_events_say_nothing(payload: dict[str, Any]) -> None:
    assert of_event(payload) is None


def test_a_planned_allocation_has_no_tasks_yet() -> None:
    found = of_event({"Allocation": row(ClientStatus="pending", TaskStates=None)})
    assert isinstance(found, Allocation) and (found.status, found.exit_code) == ("pending", None)


def evaluation(status: str = "blocked", **metric: Any) -> dict[str, Any]:
    told = {"NodesEvaluated": 1, "NodesExhausted": 0, **metric}
    return {"JobID": JOB, "Namespace": "sojourn", "Status": status, "FailedTGAllocs": {"executor": told}}


def test_no_room_and_no_node() -> None:
    full = of_event({"Evaluation": evaluation(NodesExhausted=1, DimensionExhausted={"memory": 1})})
    assert full == FULL
    none = of_event({"Evaluation": evaluation(NodesEvaluated=0)})
    assert none == NO_NODE
    assert of_event({"Evaluation": evaluation("pending")}) is None
    assert of_event({"Evaluation": {**evaluation(), "FailedTGAllocs": None}}) is None


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({"ConstraintFiltered": {"${attr.kernel.name} = plan9": 2}}, "${attr.kernel.name} = plan9' filtered 2 nodes"),
        ({"ClassFiltered": {"small": 1}}, "class 'small' filtered 1 node"),
        ({"QuotaExhausted": ["memory"]}, "quota limit hit 'memory'"),
        ({}, "none of 1 node fits"),
    ],
)
def test_nomads_reasons(metric: dict[str, Any], text: str) -> None:
    assert text in reason_of({"NodesEvaluated": 1, **metric})
