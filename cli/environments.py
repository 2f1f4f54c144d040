"""`environments …`: which there are, and new ones; on the stack's database, by who runs it."""

from __future__ import annotations

from typing import Any

import click

from sojourn.cli import output, profile, server
from sojourn.cli.output import clean

_DIRECTORY = click.option("--data-dir", type=click.Path(), help="Where the stack keeps its data.")
_KINDS = ("development", "staging", "production", "preview")


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def environments() -> None:
        """See which environments there are, and make more."""

    _add_list(environments)
    _add_create(environments)


def _add_list(environments: click.Group) -> None:
    @output.command(environments, "list")
    @_DIRECTORY
    def list_(data_dir: str | None, as_json: bool) -> None:
        """Environments of every organization and project."""
        found = server.ask("environments", profile.data_dir(data_dir), "--do", "list")
        if as_json:
            output.show_json(found)
            return
        rows = [
            (
                each["organization"]["slug"], each["project"]["slug"], each["slug"], each["type"].lower(), each["id"],
                "paused" if each["paused"] else "",
            )
            for each in found["data"]
        ]  # fmt: skip
        output.table(("organization", "project", "environment", "kind", "id", ""), rows)


def _add_create(environments: click.Group) -> None:
    @output.command(environments, "create")
    @click.argument("name")
    @click.option("--kind", type=click.Choice(_KINDS), help="What it is for; absent: what its name says, else staging.")
    @click.option("--project", default="default", show_default=True, help="The project's slug or ref.")
    @click.option("--limit", default=100, show_default=True, type=click.IntRange(0, 100_000), help="Runs at once.")
    @_DIRECTORY
    def create(data_dir: str | None, as_json: bool, **given: Any) -> None:
        """A new environment, with a root key of its own."""
        options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        made = server.ask("environments", profile.data_dir(data_dir), "--do", "create", *options)
        known = profile.remember_new(made["slug"], made["key"], data_dir)
        if as_json:
            output.show_json(made)
            return
        click.echo(made["key"])
        deployed = f"`sojourn deploy DIR --env {made['slug']}` brings code there" if known else "export it where it is used"
        click.echo(clean(f"{made['slug']} ({made['id']}) is there; this is its root key. {deployed}"), err=True)
