"""F54: what ends an executor on Nomad, or keeps one from starting: told apart, charged to a run if it is its own fault."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.nomad_stack import NomadStack, Starts, result
from tests.support.stack import until

from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.sdk.client import Client

HOSTILE = Path(__file__).parents[1] / "integration" / "shim" / "hostile"
PROJECT = Path(__file__).parent / "project"
MB = 1 << 20
#: What runs on the smallest machine: 256 MB, the allocation's limit is 400.
#: So that it holds on a machine with docker, too.
NO_DOCKER = {"attribute": "${attr.driver.docker}", "value": "never"}
SMALL = {"machine": "micro", "maxAttempts": 1}


@pytest.fixture(scope="module")
def stack(nomad_agent: NomadAgent) -> Iterator[NomadStack]:
    """Without sandboxes, so that Nomad's own limit is what there is beside the shim's watch."""
    made = NomadStack(nomad_agent)
    made.up()
    made.deploy(HOSTILE)
    yield made
    made.down()


def error_of(client: Client, run: str) -> dict[str, Any]:
    ended = result(client, run, 60)
    assert not ended["ok"], ended
    error: dict[str, Any] = ended["error"]
    return error


def requeues(client: Client, run: str) -> list[str]:
    return [row.get("description") or "" for row in client.timeline(run)["snapshots"] if row["event"] == "REQUEUE"]


@pytest.mark.parametrize(
    ("payload", "why"),
    [({"bytes": 2000 * MB, "slowly": True}, "of 256 MB"), ({"bytes": 2000 * MB}, "MB")],
    ids=["before the shim's watch", "at once"],
)
def test_memory_ends_a_run_by_the_code_that_it_has_on_one_machine(
    stack: NomadStack, payload: dict[str, Any], why: str
) -> None:
    """By the shim's watch, or by the kernel at the allocation's limit: whichever comes first."""
    client = stack.client()
    error = error_of(client, client.trigger("memory-hog", payload, SMALL)["id"])
    assert error["code"] == "TASK_PROCESS_OOM_KILLED"
    assert why in error["message"]


def test_a_crash_is_none_of_memory(stack: NomadStack) -> None:
    stack.deploy(PROJECT, "prod")
    client = stack.client("prod")
    error = error_of(client, client.trigger("signals", int(signal.SIGSEGV))["id"])
    assert error["code"] == "TASK_PROCESS_SIGSEGV"


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk that is full with one file."""
    directory = tmp_path / "tiny"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tiny", directory], check=True)
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def test_a_full_disk_of_the_node_costs_no_attempt(own_nomad_stack: Starts, tiny: Path) -> None:
    """The version's tree does not fit: the run waits, and goes on where there is room again."""
    stack = own_nomad_stack(SOJOURN_NOMAD_SITES=json.dumps({"*": {"versions_dir": str(tiny)}}))
    client = stack.client()
    run = client.trigger("echo", "x")["id"]

    def told() -> list[str]:
        rows = client.timeline(run)["snapshots"]
        return [row["error"]["message"] for row in rows if row["event"] == "RETRY_LATER"]

    until(lambda: told() or client.timeline(run)["snapshots"][-1]["event"] in ("FAIL", "SUCCEED"), 30, "it is handed back")
    assert told() and "No space left on device" in told()[0], client.timeline(run)
    subprocess.run(["mount", "-o", "remount,size=64m", tiny], check=True)
    assert result(client, run, 60)["ok"]  # a task of one attempt: none was charged


def test_a_driver_that_no_node_has_is_told_in_nomads_words(own_nomad_stack: Starts) -> None:
    """Nothing is charged; it is tried again for as long as the run may wait."""
    sites = {"*": {"driver": "docker", "image": "nothing:1", "constraints": [NO_DOCKER]}}
    stack = own_nomad_stack(SOJOURN_NOMAD_SITES=json.dumps(sites))
    client = stack.client()
    run = client.trigger("echo", "x")["id"]
    reason = until(lambda: requeues(client, run), 30, "it is queued again")[0]
    assert "Nomad could not place it: " in reason and "filtered 1 node" in reason
    assert client.retrieve(run)["attemptCount"] == 0
    client.cancel(run)


def test_a_command_that_is_not_there_costs_no_attempt(own_nomad_stack: Starts) -> None:
    """After twelve placements, with pauses in between that are not waited for here."""
    stack = own_nomad_stack(SOJOURN_NOMAD_SITES=json.dumps({"*": {"driver": "exec", "python": "/nowhere/python3"}}))
    client = stack.client()
    run = client.trigger("echo", "x")["id"]
    # On a busy machine its executor may first be given up, since nothing is heard of it.
    told = lambda: next((each for each in requeues(client, run) if "could not start it" in each), None)  # noqa: E731
    assert "/nowhere/python3" in until(told, 60, "it is queued again")
    assert client.retrieve(run)["attemptCount"] == 0
    client.cancel(run)
