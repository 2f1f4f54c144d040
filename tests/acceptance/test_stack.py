"""`sojourn up` and its kin as a user meets them: what goes wrong is one line and exit code 2, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from tests.support.stack import Stack, until

PROJECT = Path(__file__).parent / "project"


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """Not started yet."""
    made = Stack()
    yield made
    made.down()


def fails(stack: Stack, *arguments: str, detach: bool = True, **settings: str) -> str:
    """The one line that a failed `up` says."""
    environment = {**stack.environment, **settings}
    command = [sys.executable, "-m", "sojourn.cli", "up", *(["--detach"] if detach else []), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("sojourn: ")]
    assert len(lines) == 1 and (not detach or done.stderr.count("\n") == 1), done.stderr
    assert "Traceback" not in done.stderr and "s3cret" not in done.stderr
    assert living(stack.data_dir) == []
    return lines[0]


def living(data_dir: Path) -> list[int]:
    """Processes that were started on that directory."""
    found, text = [], str(data_dir).encode()
    for path in Path("/proc").iterdir():
        if not path.name.isdigit() or int(path.name) == os.getpid():
            continue
        try:
            if text in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("detach", [True, False])
def test_a_port_in_use(own_stack: Stack, detach: bool):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = fails(own_stack, "--port", str(port), detach=detach)
    assert f"port {port}" in line and "--port" in line


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("DATABASE_URL", "postgresql://u:s3cret@127.0.0.1:1/x", "DATABASE_URL"),
        ("DATABASE_URL", "mysql://u:s3cret@127.0.0.1:1/x", "DATABASE_URL"),
        ("REDIS_URL", "redis://:s3cret@127.0.0.1:1/0", "REDIS_URL"),
        ("REDIS_URL", "memcached://:s3cret@127.0.0.1:1/0", "REDIS_URL"),
        ("SOJOURN_PORT", "abc", "SOJOURN_PORT"),
        ("SOJOURN_PLACES", "0", "SOJOURN_PLACES"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(own_stack: Stack, name: str, value: str, says: str):
    assert says in fails(own_stack, "--port", str(own_stack.port), **{name: value})


def test_a_directory_that_is_not_ours(own_stack: Stack, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    assert "other files" in fails(own_stack, "--data-dir", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert "cannot be used" in fails(own_stack, "--data-dir", str(tmp_path / "thesis.tex"))
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "sojourn.json").write_text('{"format": 999}')
    assert "another release" in fails(own_stack, "--data-dir", str(newer))


def test_what_was_there_is_there_after_a_restart(own_stack: Stack):
    first = own_stack.up()
    own_stack.deploy(PROJECT)
    run = own_stack.client().trigger("echo", {"n": 1})["id"]
    until(lambda: own_stack.client().result(run, wait=10), 30, "it ends")

    line = json.loads(own_stack.cli("up", "--detach", "--json").stdout)
    assert line["api_url"] == first["api_url"], "a second one finds the first"
    busy = own_stack.cli("up", check=False)
    assert busy.returncode == 2 and busy.stderr.count("\n") == 1 and "runs" in busy.stderr

    own_stack.cli("down")
    assert living(own_stack.data_dir) == []
    stopped = own_stack.cli("status", check=False)
    assert stopped.returncode == 1 and "sojourn up" in stopped.stdout

    own_stack.port = 0
    again = own_stack.up()
    assert not again["api_url"].endswith((":0", first["api_url"][-6:])), "any free port"
    assert again["environments"] == first["environments"] and again["pat"] == first["pat"]
    assert own_stack.client().retrieve(run)["status"] == "COMPLETED"
    assert json.loads(own_stack.client().result(run)["output"]) == {"n": 1}


def test_status_has_all_that_a_program_needs(stack: Stack):
    found = json.loads(stack.cli("status", "--json").stdout)
    assert found["running"] is True and found["api_url"] == stack.found["api_url"]
    assert found["dashboard_url"].startswith(f"{found['api_url']}/?code=")
    assert found["project_ref"].startswith("proj_") and found["pat"].startswith("tr_pat_")
    assert {slug: env["secret_key"][: 4 + len(slug)] for slug, env in found["environments"].items()} == {
        "dev": "tr_dev_", "prod": "tr_prod_"
    }  # fmt: skip
    assert {service["state"] for service in found["services"]} == {"running"}
    assert {service["name"] for service in found["services"]} == {"postgres", "redis", "control-plane", "scheduler"}
    assert (stack.data_dir / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_a_schema_of_a_newer_release(own_stack: Stack):
    own_stack.up()
    with psycopg2.connect(f"postgresql://postgres@/sojourn?host={own_stack.data_dir}/run") as connection:
        connection.cursor().execute("INSERT INTO schema_migrations (number) VALUES (999)")
    connection.close()
    own_stack.cli("down")
    line = fails(own_stack, "--port", str(own_stack.port))
    assert "999" in line and "upgrade" in line.lower()


def test_ctrl_c_ends_all_of_it(own_stack: Stack):
    """As a terminal does it: the signal goes to the whole group of the foreground."""
    command = [sys.executable, "-m", "sojourn.cli", "up", "--port", str(own_stack.port)]
    process = subprocess.Popen(
        command,
        env=own_stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stdout.readline().startswith("API")
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert living(own_stack.data_dir) == []
    assert own_stack.up()["api_url"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["runs", "get", "run_00000000000000000000000000"], 4, "run"),
        (["runs", "list", "--limit", "0"], 2, "limit"),
        (["trigger", "echo", "--payload", "{"], 2, "JSON"),
        (["trigger", "always-fails", "--wait"], 1, ""),
        (["trigger", "echo", "--payload", "1", "--wait"], 0, ""),
        (["trigger", "echo", "--ttl", "soon"], 3, "ttl"),
        (["runs", "list", "--env", "nowhere"], 2, "nowhere"),
        (["fsck"], 0, ""),
    ],
)
def test_the_exit_codes_of_the_command_line(stack: Stack, arguments: list[str], code: int, says: str):
    done = stack.cli(*arguments, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
