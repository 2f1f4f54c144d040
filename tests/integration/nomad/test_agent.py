"""The private agent: what it is given, what it may do, what it leaves, and what a kill leaves to the next one."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nomad
import pytest
from tests.support.nomad_agent import required_binary
from tests.support.stack import until

from sojourn.control_plane.embedded import nomad_remains
from sojourn.control_plane.embedded.nomad import CLIENT, SERVER, NomadAgent
from sojourn.control_plane.embedded.process import StartFailed
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, URLNotAuthorizedNomadException, nomad_client, reason

Make = Callable[[], NomadAgent]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Agents on one directory, one after the other."""
    binary = required_binary()
    made: list[NomadAgent] = []

    def one() -> NomadAgent:
        made.append(NomadAgent(binary, tmp_path))
        return made[-1]

    yield one
    for agent in made:
        agent.stop(grace=0)


def batch_job(name: str, driver: str = "raw_exec", script: str = "exec sleep 600") -> dict[str, Any]:
    """A parameterized job with one task."""
    task = {
        "Name": "task",
        "Driver": driver,
        "Config": {"command": "/bin/sh", "args": ["-c", script]},
        "Resources": {"CPU": 10, "MemoryMB": 32, "MemoryMaxMB": 64},
    }
    return {
        "ID": name,
        "Namespace": "sojourn",
        "Type": "batch",
        "Datacenters": ["*"],
        "ParameterizedJob": {"Payload": "forbidden"},
        "TaskGroups": [{"Name": "group", "Tasks": [task]}],
    }


def dispatched(client: nomad.Nomad, job: dict[str, Any]) -> str:
    """The child of one dispatch."""
    client.jobs.request(json={"Job": job}, method="post")
    return str(client.job.dispatch_job(job["ID"])["DispatchedJobID"])


def allocation(client: nomad.Nomad, child: str, *statuses: str) -> dict[str, Any]:
    """The child's allocation, once it is in one of these statuses."""

    def look() -> dict[str, Any] | None:
        found = client.job.get_allocations(child)
        return found[0] if found and found[0]["ClientStatus"] in statuses else None

    found: dict[str, Any] = until(look, 30, f"the allocation of {child} is {statuses}")
    return found


@pytest.mark.parametrize("driver", ["raw_exec", "exec"])
def test_the_run_time_token_can_run_a_job(nomad_agent: NomadAgent, driver: str) -> None:
    client = nomad_client(nomad_agent.access)
    child = dispatched(client, batch_job(f"short-{driver}", driver, "exit 0"))
    assert allocation(client, child, "complete", "failed")["ClientStatus"] == "complete"
    assert client.nodes.get_nodes()
    assert client.job.deregister_job(child, purge=True)


def refused(act: Callable[[], Any]) -> bool:
    with pytest.raises(URLNotAuthorizedNomadException):
        act()
    return True


def test_the_run_time_token_can_do_nothing_else(nomad_agent: NomadAgent) -> None:
    client = nomad_client(nomad_agent.access)
    foreign = batch_job("foreign") | {"Namespace": "default"}
    assert refused(lambda: client.jobs.request(json={"Job": foreign}, method="post", params={"namespace": "default"}))
    assert refused(
        lambda: client.job.request("none", "dispatch", json={"Meta": {}}, method="post", params={"namespace": "default"})
    )
    assert refused(client.acl.get_tokens)
    assert refused(client.system.initiate_garbage_collection)
    assert refused(client.agent.get_agent)
    node = client.nodes.get_nodes()[0]["ID"]
    assert refused(lambda: client.node.eligible_node(node, ineligible=True))
    child = dispatched(client, batch_job("watched"))
    running = allocation(client, child, "running")["ID"]
    assert refused(lambda: client.client.ls.list_files(running, "/"))
    assert refused(lambda: client.allocation.stop_allocation(running))
    client.job.deregister_job(child, purge=True)


def test_nobody_without_a_token_sees_anything(nomad_agent: NomadAgent) -> None:
    client = nomad_client(NomadAccess(nomad_agent.access.address, token="", region="global"))
    assert refused(client.nodes.get_nodes)


def test_tokens_are_for_the_owner_alone_and_never_shown(make: Make, tmp_path: Path) -> None:
    agent = make()
    access = agent.start()
    secrets = {access.token, agent.management.token}
    assert len(secrets) == 2
    for name in ("management.token", "run-time.token"):
        assert stat.S_IMODE((tmp_path / "nomad" / name).stat().st_mode) == 0o600
    processes = [Path(f"/proc/{child.pid}") for child in agent.children.values()]
    files = [path / name for path in processes for name in ("cmdline", "environ")]
    files += [*(tmp_path / "nomad").glob("*.json"), *(tmp_path / "logs").glob("*.log")]
    shown = repr(access) + "".join(file.read_text() for file in files)
    assert len(files) >= 4 + 3 + 2
    assert not any(secret in shown for secret in secrets)


def test_tasks_get_nothing_of_the_stack_s_environment(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATABASE_URL", "SOJOURN_MASTER_KEY", "NOMAD_TOKEN"):
        monkeypatch.setenv(name, "quite-private")
    client = nomad_client(make().start())
    told = tmp_path / "told"
    allocation(client, dispatched(client, batch_job("tells", script=f"env >{told}")), "complete")
    assert "NOMAD_ALLOC_ID=" in told.read_text()
    assert "quite-private" not in told.read_text()


def test_a_stop_leaves_no_process_and_no_mount(make: Make, tmp_path: Path) -> None:
    agent = make()
    client = nomad_client(agent.start())
    allocation(client, dispatched(client, batch_job("stays")), "running")
    assert left(tmp_path)
    agent.stop()
    assert left(tmp_path) == ([], [])


@pytest.mark.parametrize("driver", ["raw_exec", "exec"])
def test_a_stop_by_force_leaves_nothing_either(make: Make, tmp_path: Path, driver: str) -> None:
    agent = make()
    client = nomad_client(agent.start())
    script = "trap '' TERM; (setsid sleep 600 &); sleep 600"
    allocation(client, dispatched(client, batch_job("clings", driver, script)), "running")
    agent.stop(grace=0)
    assert left(tmp_path) == ([], [])


def left(directory: Path) -> tuple[list[int], list[str]]:
    """The processes and the mounts below a directory."""
    place = directory / "nomad"
    mounts = [point for point in nomad_remains.mount_points() if point.startswith(str(place))]
    return nomad_remains.remaining(place, place / "alloc"), mounts


def test_a_later_agent_has_the_same_jobs_and_tokens(make: Make) -> None:
    first = make()
    access = first.start()
    nomad_client(access).jobs.request(json={"Job": batch_job("known")}, method="post")
    first.stop()
    assert make().start() == access
    assert "known" in {job["ID"] for job in nomad_client(access).jobs.get_jobs()}


def test_a_directory_of_before_gets_certificates(make: Make, tmp_path: Path) -> None:
    """As older releases left it, without TLS on either side."""
    first = make()
    first._tls = lambda role: {"rpc": False}  # type: ignore[method-assign]
    access = first.start()
    nomad_client(access).jobs.request(json={"Job": batch_job("known", script="exit 0")}, method="post")
    first.stop()
    assert not (tmp_path / "nomad" / "tls").exists()
    later = make()
    assert later.start() == access
    made = (tmp_path / "nomad" / "tls" / "ca.pem").read_bytes()
    child = str(nomad_client(access).job.dispatch_job("known")["DispatchedJobID"])
    allocation(nomad_client(access), child, "complete")
    later.stop()
    make().start()
    assert (tmp_path / "nomad" / "tls" / "ca.pem").read_bytes() == made


@pytest.mark.parametrize("name", [SERVER, CLIENT])
def test_a_process_that_was_killed_is_started_again_and_its_tasks_go_on(make: Make, tmp_path: Path, name: str) -> None:
    agent = make()
    client = nomad_client(agent.start())
    child = dispatched(client, batch_job("survives", script=f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"))
    before = allocation(client, child, "running")
    agent.children[name].kill()
    agent.children[name].wait()
    again = {SERVER: agent.launch_server, CLIENT: agent.launch_client}[name]()
    agent.wait_until_ready()
    (tmp_path / "go").touch()
    after = allocation(client, child, "complete", "failed", "lost")
    assert (after["ID"], after["ClientStatus"]) == (before["ID"], "complete")
    assert again.poll() is None


def test_an_agent_whose_supervisor_was_killed_is_ended_and_its_tasks_are_taken_over(make: Make, tmp_path: Path) -> None:
    first, second = make(), make()
    client = nomad_client(first.start())
    child = dispatched(client, batch_job("taken", script=f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"))
    before = allocation(client, child, "running")
    assert second.start() == first.access
    assert {first.children[name].wait() for name in (SERVER, CLIENT)} <= {0, 1, -signal.SIGKILL}
    (tmp_path / "go").touch()
    after = allocation(client, child, "complete", "failed", "lost")
    assert (after["ID"], after["ClientStatus"]) == (before["ID"], "complete")


def test_ports_that_are_taken_are_exchanged(make: Make, tmp_path: Path) -> None:
    first = make()
    access = first.start()
    first.stop()
    port = int(access.address.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        later = make().start()
    assert later.address != access.address
    assert later.token == access.token
    client = nomad_client(later)
    allocation(client, dispatched(client, batch_job("moved", script="exit 0")), "complete")
    assert "failed to reconcile" not in (tmp_path / "logs" / "nomad.log").read_text()


def test_a_client_whose_identity_is_not_good_any_more_gets_another(make: Make, tmp_path: Path) -> None:
    """As after a day without the stack: here the server has lost its data, and with it the key that signed the identity."""
    first = make()
    first.start()
    first.stop()
    shutil.rmtree(tmp_path / "nomad" / SERVER)
    client = nomad_client(make().start())
    assert "Permission denied" in (tmp_path / "logs" / "nomad-client.log").read_text()
    allocation(client, dispatched(client, batch_job("again", script="exit 0")), "complete")


def test_a_program_that_does_not_start_is_told_in_one_line(tmp_path: Path) -> None:
    required_binary()
    program = tmp_path / "nomad-of-old"
    program.write_text("#!/bin/sh\n[ $1 = version ] && echo Nomad v1.9.0-dev && exit\necho 'it is broken' >&2\nexit 1\n")
    program.chmod(0o755)
    with pytest.raises(StartFailed, match=r"^Nomad did not start: it is broken \(the rest is in .*nomad.log\)$"):
        NomadAgent(program, tmp_path).start()


@pytest.mark.parametrize(
    ("says", "shown"), [("Nomad v1.7.7", "1.7.7"), ("Nomad v1.8.0-beta.1", "1.8.0-beta.1"), ("what", "?")]
)
def test_a_program_that_is_too_old_is_refused(tmp_path: Path, says: str, shown: str) -> None:
    required_binary()
    program = tmp_path / "nomad-of-old"
    program.write_text(f"#!/bin/sh\necho {says}\n")
    program.chmod(0o755)
    agent = NomadAgent(program, tmp_path)
    if shown.startswith("1.8"):
        agent.check()
        return
    with pytest.raises(StartFailed, match=rf"nomad-of-old is Nomad {re.escape(shown)}: name one of 1\.8\.0 or later"):
        agent.check()


def test_what_cannot_be_reached_is_told_without_a_secret() -> None:
    client = nomad_client(NomadAccess("http://127.0.0.1:1", token="secret"))
    with pytest.raises(BaseNomadException) as caught:
        client.nodes.get_nodes()
    assert reason(caught.value) == "[Errno 111] Connection refused"
