"""`sojourn up --nomad`: a private Nomad, or the user's; who is told of it; what is refused and in which words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.nomad_agent import required_binary
from tests.support.stack import NOT_ROOT, Stack, refused, until

from sojourn.control_plane.embedded.nomad import NomadAgent, private_access
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import nomad_client

Make = Callable[..., Stack]


@pytest.fixture(scope="module")
def private() -> Iterator[Stack]:
    """A stack with a private Nomad. Its tests do it no harm."""
    required_binary()
    stack = Stack()
    stack.environment["SOJOURN_PORT"] = str(stack.port)
    stack.found = json.loads(stack.cli("up", "--nomad", "--detach", "--json").stdout)
    yield stack
    stack.down()


def access(stack: Stack) -> NomadAccess:
    found = private_access(stack.data_dir)
    assert found
    return found


def test_status_tells_the_address_and_no_token(private: Stack) -> None:
    told = private.status()
    assert told["nomad"] == {"address": access(private).address, "namespace": "sojourn", "private": True}
    assert told["nomad"] == private.found["nomad"]
    assert {service["name"] for service in told["services"]} >= {"nomad", "nomad-client"}
    assert {service["state"] for service in told["services"]} == {"running"}
    plain = private.cli("status").stdout
    assert f"Nomad      {access(private).address} (namespace sojourn)" in plain
    everything = json.dumps(told) + plain + (private.data_dir / "stack.json").read_text() + private.logs()
    assert access(private).token not in everything


def test_only_the_scheduler_is_told(private: Stack) -> None:
    secret = access(private).token.encode()
    holders = {name for name, pid in private.services().items() if secret in environment(pid)}
    assert holders == {"scheduler"}
    told = dict(line.split(b"=", 1) for line in environment(private.services()["scheduler"]).split(b"\0") if line)
    assert told[b"NOMAD_ADDR"] == access(private).address.encode()
    assert told[b"NOMAD_NAMESPACE"] == b"sojourn"
    assert told[b"SOJOURN_PLACEMENT"] == b"nomad"
    everybody = [pid for pid in private.processes() if pid != private.services()["scheduler"]]
    assert not [pid for pid in everybody if secret in environment(pid) + Path(f"/proc/{pid}/cmdline").read_bytes()]


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize("service", ["nomad", "nomad-client"])
def test_a_killed_nomad_is_started_again(private: Stack, service: str) -> None:
    private.kill(service)
    until(lambda: is_ready(access(private)), 60, "it takes jobs")


def is_ready(reached: NomadAccess) -> bool:
    try:
        return {node["Status"] for node in nomad_client(reached).nodes.get_nodes()} == {"ready"}
    except Exception:
        return False


def test_down_ends_all_of_it_and_a_later_up_finds_it(make: Make) -> None:
    required_binary()
    stack = make(SOJOURN_PLACEMENT="nomad")
    stack.up()
    before = access(stack)
    stack.cli("down")
    assert stack.processes() == []
    assert private_access(stack.data_dir) == before
    stack.up()
    assert access(stack) == before
    assert is_ready(before)


def test_a_stack_that_was_killed_starts_again(make: Make) -> None:
    required_binary()
    stack = make(SOJOURN_PLACEMENT="nomad")
    stack.up()
    before = access(stack)
    os.kill(json.loads((stack.data_dir / "stack.json").read_text())["pid"], signal.SIGKILL)
    stack.up()
    assert access(stack) == before
    assert is_ready(before)


def test_ctrl_c_while_it_starts(make: Make) -> None:
    required_binary()
    stack = make()
    process = stack.begin("up", "--nomad", "--port", str(stack.port))
    until((stack.data_dir / "nomad" / "nomad.json").exists, 30, "it is starting")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "sojourn: interrupted"
    assert stack.processes() == []


def test_a_cluster_of_the_user_s(make: Make, nomad_agent: NomadAgent) -> None:
    reached = nomad_agent.access
    stack = make(NOMAD_ADDR=reached.address, NOMAD_TOKEN=reached.token, NOMAD_NAMESPACE=reached.namespace)
    stack.up()
    assert stack.status()["nomad"] == {"address": reached.address, "namespace": "sojourn", "private": False}
    assert "nomad" not in stack.services()
    holders = {name for name, pid in stack.services().items() if reached.token.encode() in environment(pid)}
    assert holders == {"scheduler"}
    stack.cli("down")
    assert is_ready(reached)


def test_placement_local_leaves_a_cluster_alone(make: Make) -> None:
    stack = make(NOMAD_ADDR="http://127.0.0.1:1", NOMAD_TOKEN="secret", SOJOURN_PLACEMENT="local")
    stack.up()
    assert "nomad" not in stack.status()


def test_a_program_that_is_not_there(make: Make, tmp_path: Path) -> None:
    stack = make(SOJOURN_NOMAD_BIN=str(tmp_path / "none"))
    assert "Nomad is not here: install HashiCorp's release or `make nomad`" in refused(stack, "--nomad")


def test_a_private_one_needs_root(make: Make) -> None:
    required_binary()
    if subprocess.run([*NOT_ROOT, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no user namespaces")
    stack = make()
    stack.data_dir.chmod(0o777)
    assert "a private Nomad needs root" in refused(stack, "--nomad", prefix=NOT_ROOT)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:1", ("Nomad cannot be reached (", "Connection refused", "correct NOMAD_ADDR")),
        ("http://u:secret@127.0.0.1:1", ("Nomad cannot be reached (", "correct NOMAD_ADDR")),
        ("nomad.example", ("NOMAD_ADDR cannot be", "http://")),
        ("http://u:secret@127.0.0.1:port", ("NOMAD_ADDR cannot be", "http://")),
    ],
)
def test_a_cluster_that_cannot_be_reached(make: Make, address: str, words: tuple[str, ...]) -> None:
    line = refused(make(NOMAD_ADDR=address, NOMAD_TOKEN="secret"), "--nomad")
    assert all(word in line for word in words), line


def test_a_token_or_a_namespace_that_is_wrong(make: Make, nomad_agent: NomadAgent) -> None:
    reached = nomad_agent.access
    line = refused(make(NOMAD_ADDR=reached.address, NOMAD_TOKEN="7b1b6a9e-0000-0000-0000-000000secret"), "--nomad")
    assert "Nomad refuses the token for the namespace sojourn: correct NOMAD_TOKEN" in line
    foreign = make(NOMAD_ADDR=reached.address, NOMAD_TOKEN=reached.token, NOMAD_NAMESPACE="default")
    assert "Nomad refuses the token for the namespace default" in refused(foreign, "--nomad")
    missing = make(NOMAD_ADDR=reached.address, NOMAD_TOKEN=nomad_agent.management.token, NOMAD_NAMESPACE="none")
    assert "Nomad has no namespace none: make it by `nomad namespace apply none`" in refused(missing, "--nomad")


def test_doctor_looks_at_the_cluster(private: Stack) -> None:
    done = private.cli("doctor", "--json")
    states = {finding["what"]: finding["state"] for finding in json.loads(done.stdout)["findings"]}
    assert (states["Nomad"], states["right dispatch-job"], states["driver raw_exec"]) == ("ok", "ok", "ok")
    assert access(private).token not in done.stdout + done.stderr
    plain = private.cli("doctor").stdout
    assert "right dispatch-job" in plain


def test_doctor_without_the_stack_s_token_says_so(make: Make, nomad_agent: NomadAgent) -> None:
    reached = nomad_agent.access
    stack = make(NOMAD_ADDR=reached.address, NOMAD_TOKEN=reached.token)
    stack.up()
    assert "right dispatch-job" in stack.cli("doctor").stdout
    del stack.environment["NOMAD_ADDR"], stack.environment["NOMAD_TOKEN"]
    told = " ".join(stack.cli("doctor").stdout.split())
    assert f"the stack's is {reached.address}: set NOMAD_ADDR and NOMAD_TOKEN" in told


def test_doctor_says_what_is_missing_for_a_private_one(make: Make, tmp_path: Path) -> None:
    stack = make(SOJOURN_PLACEMENT="nomad", SOJOURN_NOMAD_BIN=str(tmp_path / "none"))
    done = stack.cli("doctor", "--json", check=False)
    found = {finding["what"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert (done.returncode, found["Nomad"]["state"]) == (1, "bad")
    assert "`make nomad`" in found["Nomad"]["text"]
