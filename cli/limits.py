"""`limits …`: what organizations, environments and queues may have at once, and their weights; for who runs the stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sojourn.cli import output, profile, server
from sojourn.cli.numbers import Finite
from sojourn.cli.output import USAGE, fail

_DIRECTORY = click.option("--data-dir", type=click.Path(), help="Where the stack keeps its data.")


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def limits() -> None:
        """Share out what there is: limits and weights of organizations, environments and queues."""

    _add_list(limits)
    _add_set(limits)


def _add_list(limits: click.Group) -> None:
    @output.command(limits, "list")
    @_DIRECTORY
    def list_(data_dir: str | None, as_json: bool) -> None:
        """What every organization, environment and queue may have."""
        _show(_ask(profile.data_dir(data_dir), "--do", "list"), as_json)


def _add_set(limits: click.Group) -> None:
    @output.command(limits, "set")
    @click.option("--organization", help="An organization, by its slug.")
    @click.option("--env", "environment", help="An environment, by its slug or its id.")
    @click.option("--queue", help="A queue of that environment; a task's own is task/<task>.")
    @click.option("--limit", type=click.IntRange(0, 100_000), help="Runs at once.")
    @click.option("--no-limit", is_flag=True, help="An organization has as many as its environments.")
    @click.option("--burst", type=Finite(1, 100), help="Stretches the limit of an environment, over several queues.")
    @click.option("--weight", type=Finite(0.01, 100), help="Turns beside others of the same kind; 1 is usual.")
    @click.option("--pause", is_flag=True, help="An environment starts no run.")
    @click.option("--resume", is_flag=True, help="A paused environment goes on.")
    @_DIRECTORY
    def set_(data_dir: str | None, as_json: bool, **given: Any) -> None:
        """Change what an organization, an environment or a queue may have; at once."""
        if bool(given["organization"]) == bool(given["environment"]):
            fail("say whose: --organization or --env", USAGE)
        _show(_ask(profile.data_dir(data_dir), "--do", "set", *_arguments(given)), as_json)


def _arguments(given: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name in ("organization", "environment", "queue", "limit", "burst", "weight"):
        if given[name] is not None:
            found += [f"--{name}", str(given[name])]
    found += [f"--{name.replace('_', '-')}" for name in ("no_limit", "pause", "resume") if given[name]]
    return found


def _ask(path: Path, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.ask("limits", path, *arguments)["data"]
    return found


def _show(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        output.show_json({"data": found})
        return
    rows: list[tuple[Any, ...]] = []
    for owner in found:
        rows.append((owner["slug"], "", "", _limit(owner["limit"]), "", _weight(owner["weight"]), ""))
        for each in owner["environments"]:
            paused = "paused" if each["paused"] else ""
            rows.append(("", each["slug"], "", each["limit"], _weight(each["burst"]), _weight(each["weight"]), paused))
            rows += [("", "", name, "", "", _weight(weight), "") for name, weight in each["queues"].items()]
    output.table(("organization", "environment", "queue", "limit", "burst", "weight", ""), rows)


def _limit(limit: int | None) -> str:
    return "none" if limit is None else str(limit)


def _weight(weight: float) -> str:
    return f"{weight:g}"
