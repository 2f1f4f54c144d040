"""`env …`: the variables that runs of an environment get."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options

#: Lines of a file that are numbered.
_LINES = 10


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def env() -> None:
        """Set the variables that runs get, from their next attempt on."""

    _add_reading(env)
    _add_changing(env)


def _add_reading(env: click.Group) -> None:
    @output.command(env, "list")
    @environment_options
    def list_(environment: str, data_dir: str | None, as_json: bool) -> None:
        """Variables by their names; secrets without their values."""
        found = profile.client(environment, data_dir).list_variables()
        if as_json:
            output.show_json(found)
            return
        rows = [(each["name"], each["value"], "secret" if each["isSecret"] else "") for each in found]
        output.table(("name", "value", ""), rows, "no variable is set")

    @output.command(env, "get")
    @click.argument("name")
    @environment_options
    def get(name: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """One variable's value."""
        found = profile.client(environment, data_dir).retrieve_variable(name)
        if as_json:
            output.show_json(found)
        elif found["isSecret"]:
            output.fail(f"{name} is a secret: its value is shown to nobody but runs", output.REFUSED)
        else:
            click.echo(output.clean(found["value"]))


def _add_changing(env: click.Group) -> None:
    @output.command(env, "set")
    @click.argument("name")
    @click.argument("value", required=False)
    @click.option("--secret", is_flag=True, help="Show its value to nobody but runs, from now on.")
    @environment_options
    def set_(name: str, value: str | None, secret: bool, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Set NAME to VALUE, or to what stdin says, so that a secret is in no history."""
        client = profile.client(environment, data_dir)
        _show(client.create_variable({"name": name, "value": _value(value), "isSecret": secret}), f"{name} is set", as_json)

    @output.command(env, "import")
    @click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
    @click.option("--override", is_flag=True, help="Give those that are there the new value, too.")
    @click.option("--secret", is_flag=True, help="Show their values to nobody but runs, from now on.")
    @environment_options
    def import_(file: Path, override: bool, secret: bool, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Set the variables of a dotenv file, all or none."""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            output.fail(f"{file} cannot be read: {error}", output.USAGE)
        wanted = {"variables": text, "override": override, "isSecret": secret}
        done = profile.client(environment, data_dir).import_variables(wanted)
        _show(done, f"{file}: {_imported(done)}", as_json)

    @output.command(env, "unset")
    @click.argument("name")
    @environment_options
    def unset(name: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Give runs the variable no longer."""
        _show(profile.client(environment, data_dir).delete_variable(name), f"{name} is not set any more", as_json)


def _value(given: str | None) -> str:
    if given is not None:
        return given
    if sys.stdin.isatty():
        value: str = click.prompt("value", hide_input=True, default="", show_default=False)
        return value
    return sys.stdin.read().removesuffix("\n")


def _imported(done: dict[str, Any]) -> str:
    kept = done["kept"]
    said = f"{done['created']} new, {done['updated']} changed"
    skipped = done.get("skippedLines", [])
    if skipped:
        lines = ", ".join(map(str, skipped[:_LINES])) + (", …" if len(skipped) > _LINES else "")
        said += f", {len(skipped)} without NAME=VALUE left out (line {lines})"
    return f"{said}, {len(kept)} left as they were ({', '.join(kept)}): --override changes them" if kept else said


def _show(answer: dict[str, Any], text: str, as_json: bool) -> None:
    output.show_json(answer) if as_json else click.echo(output.clean(text))
