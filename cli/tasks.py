"""`tasks …`: what can be triggered."""

from __future__ import annotations

from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def tasks() -> None:
        """Look at the tasks that are deployed."""

    @output.command(tasks, "list")
    @environment_options
    def list_(environment: str, data_dir: str | None, as_json: bool) -> None:
        """The tasks of the current version."""
        found = profile.client(environment, data_dir).current_deployment()
        if as_json:
            output.show_json(found["tasks"])
            return
        rows = [
            (each["id"], each["queue"]["name"], each["machine"], _attempts(each), _schedule(each), each["file"])
            for each in found["tasks"]
        ]
        output.table(("task", "queue", "machine", "attempts", "schedule", "file"), rows, "no task")


def _attempts(task: dict[str, Any]) -> Any:
    return task["retry"].get("maxAttempts", "")


def _schedule(task: dict[str, Any]) -> str:
    declared = task.get("schedule")
    return f"{declared['cron']} {declared.get('timezone', 'UTC')}" if declared else ""
