"""`up`, `down`, `status`, `doctor`, `fsck`: the stack on this machine. The server side runs in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.output import FAILED, OK, USAGE, fail


def add(group: click.Group) -> None:
    """Registers the commands."""
    directory = click.option("--data-dir", help="Where the stack keeps its data (default: the user's data directory).")

    @output.command(group, "up")
    @directory
    @click.option("--port", type=click.IntRange(0, 65535), help="The port of API and dashboard (default: 3030).")
    @click.option("--detach", is_flag=True, help="Leave it running and return once it is ready.")
    def up(data_dir: str | None, port: int | None, detach: bool, as_json: bool) -> None:
        """Start the real stack on this machine: PostgreSQL, Redis, control plane, scheduler, executors."""
        path = profile.data_dir(data_dir)
        process, answer = _start(path, port, detach)
        if "running" in answer:
            process.wait()
            _already(path, answer["running"], detach, as_json)
            return
        if "ready" not in answer:
            process.wait()
            fail(answer.get("failed", "the stack did not start"), USAGE)

        def welcome() -> None:
            if as_json:
                output.show_json({**answer["ready"], "data_dir": str(path)})
            else:
                _welcome(answer["ready"], detach)

        if detach:
            welcome()
        else:
            sys.exit(_stay(process, welcome))

    @output.command(group, "down")
    @directory
    def down(data_dir: str | None, as_json: bool) -> None:
        """Stop the stack; its data stays."""
        path = profile.data_dir(data_dir)
        state = _running(path)
        if state is not None:
            os.kill(state["pid"], signal.SIGTERM)
            deadline = time.monotonic() + 60
            while _lives(state):
                if time.monotonic() > deadline:
                    fail(f"the stack (process {state['pid']}) did not stop within 60 s", FAILED)
                time.sleep(0.05)
        if as_json:
            output.show_json({"stopped": state is not None})
        else:
            click.echo("stopped" if state is not None else "nothing runs here")

    @output.command(group, "status")
    @directory
    def status(data_dir: str | None, as_json: bool) -> None:
        """What runs here, where it is, and the keys that open it."""
        path = profile.data_dir(data_dir)
        found, state = profile.credentials(path), _running(path)
        if found is None or state is None:
            if as_json:
                output.show_json({"running": False, "data_dir": str(path)})
            else:
                click.echo(f"nothing runs on {path}: `sojourn up` starts it")
            sys.exit(FAILED)
        code = _server("code", path)
        found["dashboard_url"] = f"{found['api_url']}/?code={code['code']}"
        services = [{"name": n, "pid": pid, "state": _state(pid)} for n, pid in state["services"].items()]
        if as_json:
            output.show_json({**found, "running": True, "data_dir": str(path), "services": services})
            return
        _welcome(found, True)
        output.table(("service", "pid", "state"), [(s["name"], s["pid"], s["state"]) for s in services])

    @output.command(group, "doctor")
    @directory
    def doctor(data_dir: str | None, as_json: bool) -> None:
        """What this machine has, what it lacks, and what would change that."""
        found = _server("doctor", profile.data_dir(data_dir), good=(0, 1))
        if as_json:
            output.show_json(found)
        else:
            output.table(("", "what", ""), [(f["state"], f["what"], f["text"]) for f in found["findings"]])
        sys.exit(FAILED if any(f["state"] == "bad" for f in found["findings"]) else OK)

    @output.command(group, "fsck")
    @directory
    @click.option("--repair", is_flag=True, help="Sweep first: what can be mended is mended.")
    def fsck(data_dir: str | None, repair: bool, as_json: bool) -> None:
        """Check the platform's invariants; harmless on a live system."""
        arguments = ("--repair",) if repair else ()
        found = _server("fsck", profile.data_dir(data_dir), *arguments, good=(0, 1))
        violations = found["violations"]
        if as_json:
            output.show_json(found)
        elif violations:
            output.table(("", "run", "what is wrong"), [(v["invariant"], v["run"], v["text"]) for v in violations])
        else:
            click.echo("every invariant holds")
        sys.exit(FAILED if violations else OK)


def _start(path: Path, port: int | None, detach: bool) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    read, write = os.pipe()
    command = [
        sys.executable,
        "-m",
        "sojourn.control_plane",
        "stack",
        "--data-dir",
        str(path),
        "--ready-fd",
        str(write),
    ]
    if port is not None:
        command += ["--port", str(port)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if detach else None,
        pass_fds=(write,),
        start_new_session=True,
    )
    os.close(write)
    try:
        with os.fdopen(read) as pipe:
            line = pipe.readline()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if not line:
        code = process.wait()
        return process, {"failed": f"the stack did not start (exit code {code}); is sojourn[embedded] installed?"}
    return process, json.loads(line)


def _stay(process: subprocess.Popen[bytes], welcome: Callable[[], None]) -> int:
    """In the foreground until Ctrl-C, which ends all of it; also while the first lines are still being printed."""
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        welcome()
    except KeyboardInterrupt:
        process.terminate()
    while True:
        try:
            return OK if process.wait() == 0 else FAILED
        except KeyboardInterrupt:
            click.echo("\nstopping …", err=True)
            process.terminate()


def _already(path: Path, state: dict[str, Any], detach: bool, as_json: bool) -> None:
    if not detach:
        fail(f"a stack runs on {path} already: {state['api_url']} (`sojourn down` stops it)", USAGE)
    if as_json:
        output.show_json({**(profile.credentials(path) or {}), "data_dir": str(path)})
    else:
        click.echo(f"it runs already: {state['api_url']}")


def _welcome(found: dict[str, Any], detached: bool) -> None:
    click.echo(f"API        {found['api_url']}")
    click.echo(f"Dashboard  {found['dashboard_url']}")
    for slug, environment in found["environments"].items():
        click.echo(f"{slug:<10} {environment['secret_key']}")
    click.echo("\nNext: sojourn deploy DIR --env dev" + ("" if detached else "      (Ctrl-C stops everything)"))


def _server(command: str, path: Path, *arguments: str, good: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Runs a command of the server side and reads its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "sojourn.control_plane", command, "--data-dir", str(path), *arguments],
        capture_output=True,
        text=True,
    )
    if done.returncode not in good:
        fail(done.stderr.strip().splitlines()[-1].removeprefix("sojourn: ") if done.stderr.strip() else command, USAGE)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _running(path: Path) -> dict[str, Any] | None:
    """The stack's own note, if its process lives."""
    try:
        state: dict[str, Any] = json.loads((path / "stack.json").read_text())
    except (OSError, ValueError):
        return None
    return state if _lives(state) else None


def _lives(state: dict[str, Any]) -> bool:
    """Whether the process of a stack's note lives; its number may be another's by now."""
    try:
        fields = Path(f"/proc/{state['pid']}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[19]) == state["started"] and fields[0] != "Z"
    except (OSError, ValueError, IndexError, KeyError):
        return False


def _state(pid: int) -> str:
    return "running" if Path(f"/proc/{pid}").exists() else "gone"
