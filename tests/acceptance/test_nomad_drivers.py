"""The drivers beside raw_exec, for real: where user code lives, what it sees, and what the run's record says of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from tests.support.nomad_stack import NomadStack, Starts, executor, quoted, result
from tests.support.sandboxes import needs_sandboxes

from sojourn.control_plane.cluster_facts import SANDBOX_CAPABILITIES

#: A chroot is linked together when a task starts, which may take seconds on a slow disk.
SLOW = {"SOJOURN_PLACEMENT_SECONDS": "40"}


def on(driver: str, **site: Any) -> str:
    return json.dumps({"*": {"driver": driver, **site}})


def looks_around(stack: NomadStack, **payload: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a task saw, and where it ran."""
    client = stack.client()
    nomad = urlsplit(stack.agent.access.address)
    addresses = [[nomad.hostname, nomad.port], ["127.0.0.1", stack.port]]
    run = client.trigger("looks-around", {"paths": [], "addresses": addresses, **payload})["id"]
    ended = result(client, run, 60)
    assert ended["ok"], (ended, client.timeline(run))
    return json.loads(ended["output"]), executor(client, run)


def test_exec_runs_tasks_in_its_own_isolation_and_says_so(own_nomad_stack: Starts) -> None:
    """Nomad's usual user in a root of its own: nobody, without capabilities, and with the node's network."""
    stack = own_nomad_stack(SOJOURN_NOMAD_SITES=on("exec"), SOJOURN_SANDBOX="auto", **SLOW)
    seen, where = looks_around(stack, paths=[str(stack.data_dir), "/root", "/home", "/etc/shadow"])
    assert where["isolation"] == "exec"
    (job,) = [stack.ask(f"job/{quoted(child['ID'])}") for child in stack.children()]
    assert job["TaskGroups"][0]["Tasks"][0]["Env"]["LD_LIBRARY_PATH"] == "/opt/sojourn/base/lib"
    assert (seen["uid"], seen["capabilities"], seen["noNewPrivileges"]) == (65_534, 0, "1")
    assert (seen["seen"], seen["variables"]) == ([], [])
    warm = stack.client().trigger("echo", 2)["id"]
    assert result(stack.client(), warm)["ok"]
    assert executor(stack.client(), warm)["jobId"] == where["jobId"]


def test_exec_has_the_whole_sandbox_where_clients_allow_its_capabilities(own_nomad_stack: Starts) -> None:
    needs_sandboxes()
    site = on("exec", capabilities=list(SANDBOX_CAPABILITIES))
    stack = own_nomad_stack(SOJOURN_NOMAD_SITES=site, SOJOURN_SANDBOX="required", **SLOW)
    seen, where = looks_around(stack, paths=[str(stack.data_dir), "/secrets", "/alloc", "/root"])
    assert where["isolation"] == "sandbox"
    assert seen.pop("uid") > 65_536
    assert seen.pop("processes") < 10
    assert seen == {
        "capabilities": 0,
        "noNewPrivileges": "1",
        "seen": [],
        "reached": [["127.0.0.1", stack.port]],
        "variables": [],
    }


def test_exec_without_what_a_required_sandbox_needs_runs_nothing(own_nomad_stack: Starts) -> None:
    stack = own_nomad_stack(SOJOURN_NOMAD_SITES=on("exec"), SOJOURN_SANDBOX="required", **SLOW)
    client = stack.client()
    run = client.trigger("echo", 1)["id"]
    error = result(client, run, 60)["error"]
    assert error["code"] == "CONFIGURED_INCORRECTLY"
    assert "root" in error["message"]
