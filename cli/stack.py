"""`up`, `down`, `status`, `doctor`, `fsck`: the stack on this machine. The server side runs in processes of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from sojourn.cli import output, profile, server
from sojourn.cli.output import FAILED, OK, USAGE, fail

_STOP_SECONDS = 60


def add(group: click.Group) -> None:
    """Registers the commands."""
    directory = click.option("--data-dir", help="Where the stack keeps its data (default: the user's data directory).")

    @output.command(group, "up")
    @directory
    @click.option("--port", type=click.IntRange(1, 65535), help="The port of API and dashboard (default: 3030).")
    @click.option("--nomad", is_flag=True, help="Executors are jobs of NOMAD_ADDR, or of a private Nomad.")
    @click.option("--detach", is_flag=True, help="Leave it running and return once it is ready.")
    def up(data_dir: str | None, port: int | None, nomad: bool, detach: bool, as_json: bool) -> None:
        """Start the real stack on this machine: PostgreSQL, Redis, control plane, scheduler, executors."""
        path = profile.data_dir(data_dir)
        started = server.Server(path, port, detach, nomad)
        answer = started.start()
        if "running" in answer:
            _already(path, answer["running"], detach, as_json)
            return
        if as_json:
            output.show_json({**answer["ready"], "data_dir": str(path)})
        else:
            _welcome(answer["ready"], detach)
        if not detach:
            sys.exit(started.stay())

    @output.command(group, "down")
    @directory
    def down(data_dir: str | None, as_json: bool) -> None:
        """Stop the stack; its data stays."""
        path = profile.data_dir(data_dir)
        state = server.running(path)
        if state is not None:
            _end(state)
        if as_json:
            output.show_json({"stopped": state is not None})
        else:
            click.echo("stopped" if state is not None else "nothing runs here")

    @output.command(group, "status")
    @directory
    def status(data_dir: str | None, as_json: bool) -> None:
        """What runs here, where it is, and the keys that open it."""
        path = profile.data_dir(data_dir)
        found, state = profile.credentials(path), server.running(path)
        if found is None or state is None:
            if as_json:
                output.show_json({"running": False, "data_dir": str(path)})
            fail(f"nothing runs on {path}: `sojourn up` starts it", FAILED)
        code = server.ask("code", path)
        found["dashboard_url"] = f"{found['api_url']}/?code={code['code']}"
        found |= {"nomad": state["nomad"]} if "nomad" in state else {}
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
        found = server.ask("doctor", profile.data_dir(data_dir), good=(0, 1))
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
        found = server.ask("fsck", profile.data_dir(data_dir), *arguments, good=(0, 1))
        violations = found["violations"]
        if as_json:
            output.show_json(found)
        elif violations:
            output.table(("", "run", "what is wrong"), [(v["invariant"], v["run"], v["text"]) for v in violations])
        else:
            click.echo("every invariant holds")
        sys.exit(FAILED if violations else OK)


def _end(state: dict[str, Any]) -> None:
    """Asks the stack to stop and waits until its process is gone, and with it all that it started."""
    os.kill(state["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while server.lives(state):
        if time.monotonic() > deadline:
            fail(f"the stack (process {state['pid']}) did not stop within {_STOP_SECONDS} s: try again", FAILED)
        time.sleep(0.05)


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
    if "nomad" in found:
        click.echo(f"Nomad      {found['nomad']['address']} (namespace {found['nomad']['namespace']})")
    for slug, environment in found["environments"].items():
        click.echo(f"{slug:<10} {environment['secret_key']}")
    if "moved" in found:
        place, frozen = found["moved"]["from"], found["moved"]["frozen_runs"]
        said = f"The data directory was moved: runs that were frozen in {place} begin anew ({frozen} are frozen)"
        click.echo(f"\n{said}", err=True)
    click.echo("\nNext: sojourn deploy DIR --env dev" + ("" if detached else "      (Ctrl-C stops everything)"))


def _state(pid: int) -> str:
    return "running" if Path(f"/proc/{pid}").exists() else "gone"
