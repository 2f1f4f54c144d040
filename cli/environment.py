"""Which environment of which stack a command is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import click

_PROJECT = "sojourn.cli.project"
#: Commands of advice that speak to one environment.
_NEEDS_ONE = re.compile(r"`(sojourn (?:deploy DIR|(?:deployments|keys|queues|schedules|tasks|webhooks) list))`")
#: Other words for slugs, as the API takes them.
_ALIASES = {"stg": "staging", "production": "prod", "development": "dev"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed on this command line: an environment's slug, a project's ref; None where it was not."""

    environment: str | None = None
    project: str | None = None

    @property
    def words(self) -> str:
        """As it was typed, for messages."""
        typed = (("--project", self.project), ("--env", self.environment))
        return " ".join(f"{option} {value}" for option, value in typed if value is not None)


def environment_options(function: Any) -> Any:
    """Which environment of which stack."""
    function = click.option("--data-dir", help="The stack to talk to, if it is not the default one.")(function)
    function = click.option("--env", "environment", default="dev", show_default=True, help="The environment.")(function)
    project = click.option(
        "--project", expose_value=False, callback=_keep_project, help="The environment's project: its ref."
    )
    return project(function)


def asked() -> Asked:
    """What the command that runs was told."""
    context = click.get_current_context(silent=True)
    if context is None:
        return Asked()
    is_typed = context.get_parameter_source("environment") is click.core.ParameterSource.COMMANDLINE
    return Asked(context.params["environment"] if is_typed else None, context.meta.get(_PROJECT))


def here(text: str) -> str:
    """The text with the environment that was typed behind each command in it that needs one."""
    words = asked().words
    return _NEEDS_ONE.sub(lambda found: f"`{found[1]} {words}`", text) if words else text


def parameter(name: str) -> str | None:
    """How the command that runs calls one of its options, `--max-attempts`, or arguments, `CRON`; None if it has none."""
    context = click.get_current_context(silent=True)
    for each in context.command.params if context else ():
        if f"--{name}" in each.opts:
            return f"--{name}"
        if isinstance(each, click.Argument) and each.name == name:
            return name.upper()
    return None


def slug_of(named: str) -> str:
    """The slug of an environment, which people name by other words, too."""
    return _ALIASES.get(named, named)


def _keep_project(context: click.Context, _: click.Parameter, given: str | None) -> None:
    context.meta[_PROJECT] = given
