"""`sojourn up` as its user meets it: what it refuses and in which words, a second one, Ctrl-C, what `status` tells."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from tests.support.stack import NOT_ROOT, Stack, refused, until

from sojourn.control_plane.embedded.postgres import EmbeddedPostgres

PROJECT = Path(__file__).parent / "project"

Make = Callable[..., Stack]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x", ("PostgreSQL cannot be reached", "correct DATABASE_URL")),
        ("DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x?colour=red", ('"colour"', "correct DATABASE_URL")),
        ("DATABASE_URL", "postgresql://u:secret@127.0.0.1:port/x", ("DATABASE_URL cannot be", "postgresql://")),
        ("DATABASE_URL", "postgresql://u:1/secret@127.0.0.1/x", ("DATABASE_URL cannot be", "%2F")),
        ("DATABASE_URL", "mysql://u:secret@127.0.0.1/x", ("DATABASE_URL cannot be", "postgresql://")),
        ("REDIS_URL", "redis://u:secret@127.0.0.1:1/0", ("Redis cannot be reached", "correct REDIS_URL")),
        ("REDIS_URL", "redis://u:secret@127.0.0.1:port/0", ("REDIS_URL cannot be", "redis://")),
        ("REDIS_URL", "http://u:secret@127.0.0.1/0", ("REDIS_URL cannot be", "redis://")),
        ("SOJOURN_PORT", "abc", ("SOJOURN_PORT cannot be 'abc'", "a whole number from 1 to 65535")),
        ("SOJOURN_MASTER_KEY", "secret", ("SOJOURN_MASTER_KEY cannot be", "32 bytes")),
        ("SOJOURN_HOST", "host.invalid", ("host.invalid", "correct SOJOURN_HOST")),
    ],
)
def test_a_setting_that_cannot_be_used(make: Make, variable: str, value: str, words: tuple[str, ...]) -> None:
    stack = make()
    stack.environment[variable] = value
    line = refused(stack)
    assert all(word in line for word in words), line


def test_a_port_that_is_taken(make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(make(), "--port", str(port))
    assert f"port {port}" in line
    assert "choose another by --port" in line


def test_a_data_directory_that_is_a_file(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is a file: name a directory by --data-dir" in refused(make(), "--data-dir", str(file))
    assert file.read_text() == "mine"


def test_a_data_directory_of_something_else(make: Make, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert "has other files in it: name an empty" in refused(make(), "--data-dir", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_data_directory_that_may_not_be_written(make: Make, tmp_path: Path) -> None:
    if NOT_ROOT and subprocess.run([*NOT_ROOT, "true"], capture_output=True).returncode:
        pytest.skip("root without user namespaces may write anywhere")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    line = refused(make(), "--data-dir", str(closed), prefix=NOT_ROOT)
    assert "cannot be used (Permission denied): name a directory that you may write to by --data-dir" in line


@pytest.fixture(scope="module")
def stopped() -> Iterator[Stack]:
    """A stack that ran. Each test mends what it spoils."""
    stack = Stack()
    stack.up()
    stack.cli("down")
    yield stack
    stack.down()


def test_a_server_that_does_not_start(stopped: Stack) -> None:
    settings = stopped.data_dir / "postgres" / "postgresql.conf"
    good = settings.read_text()
    settings.write_text("no such line\n")
    line = refused(stopped)
    settings.write_text(good)
    assert "PostgreSQL did not start" in line
    assert str(stopped.data_dir / "logs" / "postgres.log") in line


@pytest.mark.parametrize(
    ("key", "words"),
    [("A" * 43 + "=", "sealed with another master key: put the master.key"), ("half", "master.key is damaged: put")],
)
def test_another_master_key(stopped: Stack, key: str, words: str) -> None:
    file = stopped.data_dir / "master.key"
    good = file.read_text()
    file.write_text(key)
    line = refused(stopped)
    file.write_text(good)
    assert words in line


def test_a_database_of_a_newer_release(stopped: Stack) -> None:
    in_database(stopped, "INSERT INTO schema_migrations (number) VALUES (999999)")
    line = refused(stopped)
    in_database(stopped, "DELETE FROM schema_migrations WHERE number = 999999")
    assert "schema is number 999999" in line
    assert "upgrade Sojourn" in line


def in_database(stopped: Stack, statement: str) -> None:
    postgres = EmbeddedPostgres(stopped.data_dir / "postgres")
    postgres.start()
    try:
        connection = psycopg2.connect(postgres.url.replace("/postgres?", "/sojourn?"))
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
        connection.close()
    finally:
        postgres.stop()


def test_a_second_up_does_no_harm(stack: Stack) -> None:
    pids, url = stack.services(), stack.found["api_url"]
    done = stack.cli("up", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"sojourn: a stack runs on {stack.data_dir} already: {url} (`sojourn down` stops it)\n"
    # Detached it is the wish that a stack runs, which is so.
    assert stack.cli("up", "--detach").stdout == f"it runs already: {url}\n"
    assert stack.services() == pids
    assert {service["state"] for service in stack.status()["services"]} == {"running"}


def test_a_detached_supervisor_keeps_what_it_says(stopped: Stack) -> None:
    stopped.up()
    stopped.kill("scheduler")
    assert "scheduler ended (-9) and is started again" in (stopped.data_dir / "logs" / "stack.log").read_text()
    stopped.cli("down")


def test_status_tells_everything_that_opens_the_stack(stack: Stack) -> None:
    told = stack.status()
    assert told["api_url"] == f"http://127.0.0.1:{stack.port}"
    assert told["dashboard_url"].startswith(told["api_url"] + "/?code=")
    assert told["project_ref"].startswith("proj_")
    assert {slug: env["secret_key"][: len(slug) + 4] for slug, env in told["environments"].items()} == {
        "dev": "tr_dev_",
        "prod": "tr_prod_",
    }
    assert told["pat"].startswith("tr_pat_")
    assert (told["running"], told["data_dir"]) == (True, str(stack.data_dir))
    assert {service["name"] for service in told["services"]} == {"postgres", "redis", "control-plane", "scheduler"}
    assert lasting(told) == lasting(stack.found)


def lasting(found: dict[str, Any]) -> dict[str, Any]:
    """What every start of a stack tells alike."""
    return {name: found[name] for name in ("api_url", "project_ref", "environments", "pat")}


def test_a_later_up_finds_everything(make: Make) -> None:
    stack = make()
    found = stack.up()
    stack.deploy(PROJECT)
    run = stack.client().trigger("echo", {"n": 1})["id"]
    until(lambda: stack.client().result(run, wait=20), 40, "it ends")
    stack.cli("down")
    assert stack.processes() == []
    assert lasting(stack.up()) == lasting(found)
    assert stack.client().retrieve(run)["status"] == "COMPLETED"


def test_two_ups_at_once(stopped: Stack) -> None:
    first, second = begin_up(stopped), begin_up(stopped)
    until(lambda: first.poll() is not None or second.poll() is not None, 30, "one of them gives up")
    loser, winner = (first, second) if first.poll() is not None else (second, first)
    said = loser.communicate()[1]
    assert (loser.returncode, len(said.splitlines())) == (2, 1), said
    assert ready(winner)
    winner.send_signal(signal.SIGINT)
    winner.communicate(timeout=180)
    assert winner.returncode == 0
    assert stopped.processes() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_end_of_the_command_is_the_end_of_all(stopped: Stack, number: signal.Signals, code: int) -> None:
    process = begin_up(stopped)
    assert ready(process)
    process.send_signal(number)
    process.communicate(timeout=180)
    assert process.returncode == code
    until(lambda: not stopped.processes(), 30 if number == signal.SIGKILL else 0, "nothing is left")


def test_ctrl_c_with_a_run_under_way(stopped: Stack) -> None:
    process = begin_up(stopped)
    assert ready(process)
    stopped.found = stopped.status()
    stopped.deploy(PROJECT)
    client = stopped.client()
    run = client.trigger("sleeps", 60)["id"]
    until(lambda: client.retrieve(run)["status"] == "EXECUTING", 30, "a run is under way")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=180)
    assert process.returncode == 0
    assert stopped.processes() == []
    stopped.up()
    until(lambda: len(client.timeline(run)["attempts"]) > 1, 30, "the run is there and goes on")
    client.cancel(run)
    stopped.cli("down")


def test_ctrl_c_while_it_starts(make: Make) -> None:
    stack = make()
    process = begin_up(stack)
    until((stack.data_dir / "postgres").exists, 30, "it is starting")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "sojourn: interrupted"
    assert "Traceback" not in err
    assert stack.processes() == []


def test_a_stack_that_was_killed_starts_again(stopped: Stack) -> None:
    stopped.up()
    os.kill(json.loads((stopped.data_dir / "stack.json").read_text())["pid"], signal.SIGKILL)
    found = stopped.up()
    assert lasting(stopped.status()) == lasting(found)
    stopped.cli("down")


def begin_up(stack: Stack) -> subprocess.Popen[str]:
    """`up` in the foreground."""
    return stack.begin("up", "--port", str(stack.port))


def ready(process: subprocess.Popen[str]) -> bool:
    """Whether it says that it is up: the first line that it prints."""
    assert process.stdout
    return process.stdout.readline().startswith("API ")


def test_what_is_said_when_nothing_runs(make: Make) -> None:
    stack = make()
    line = f"sojourn: nothing runs on {stack.data_dir}: `sojourn up` starts it\n"
    plain, as_json = stack.cli("status", check=False), stack.cli("status", "--json", check=False)
    assert (plain.returncode, plain.stdout, plain.stderr) == (1, "", line)
    assert (as_json.returncode, json.loads(as_json.stdout)["running"], as_json.stderr) == (1, False, line)
    listed, checked = stack.cli("runs", "list", check=False), stack.cli("fsck", check=False)
    for done in (listed, checked):
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert "`sojourn up`" in done.stderr
    assert stack.cli("down").stdout == "nothing runs here\n"
