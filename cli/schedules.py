"""`schedules …`: what triggers tasks by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options
from sojourn.cli.output import clean


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def schedules() -> None:
        """Make, look at and change what triggers tasks by itself."""

    _add_list(schedules)
    _add_create(schedules)
    _add_update(schedules)
    _add_single(schedules)
    _add_backfill(schedules)
    _add_timezones(schedules)


def _options(function: Any) -> Any:
    """What a schedule can be, beside its task and its cron expression."""
    for option in reversed(
        (
            click.option("--timezone", help="An IANA time zone; absent: UTC."),
            click.option("--window", help="Over how long ticks are spread: 30m, 2h, 25%."),
            click.option(
                "--overlap",
                type=click.Choice(["allow", "skip", "queue", "replace"]),
                help="What a tick does while a run of the schedule is not over; absent: allow.",
            ),
            click.option(
                "--catch-up",
                type=click.Choice(["none", "last", "all"]),
                help="Which ticks that were missed are made up for; absent: last.",
            ),
            click.option("--external-id", help="Given to each run, for whoever the schedule is of."),
        )
    ):
        function = option(function)
    return function


def _wanted(task: str, cron: str, options: Mapping[str, str | None], key: str | None = None) -> dict[str, Any]:
    """A schedule on the wire; `options` are those of `_options`."""
    given = {
        "task": task,
        "cron": cron,
        "timezone": options["timezone"],
        "window": options["window"],
        "overlap": options["overlap"],
        "catchUp": options["catch_up"],
        "externalId": options["external_id"],
        "deduplicationKey": key,
    }
    return {name: value for name, value in given.items() if value is not None}


def _add_list(schedules: click.Group) -> None:
    @output.command(schedules, "list")
    @click.option("--page", default=1, show_default=True, type=click.IntRange(1), help="Which page.")
    @click.option("--limit", default=25, show_default=True, type=click.IntRange(1, 100), help="Schedules on a page.")
    @environment_options
    def list_(page: int, limit: int, environment: str, data_dir: str | None, as_json: bool) -> None:
        """The newest schedules."""
        found = profile.client(environment, data_dir).list_schedules({"page": page, "perPage": limit})
        if as_json:
            output.show_json(found)
            return
        rows = [
            (
                each["id"],
                each["task"],
                each["generator"]["expression"],
                each["timezone"],
                output.minute(each.get("nextRun"), "never") if each["active"] else "not active",
                _fires(each),
                each["type"].lower(),
            )
            for each in found["data"]
        ]
        output.table(("schedule", "task", "cron", "zone", "next (UTC)", "fires (UTC)", "made"), rows, "no schedule")


def _add_create(schedules: click.Group) -> None:
    @output.command(schedules, "create")
    @click.argument("task")
    @click.argument("cron")
    @click.option("--key", required=True, help="The same key leads to the same schedule, which is changed then.")
    @_options
    @environment_options
    def create(
        task: str,
        cron: str,
        key: str,
        environment: str,
        data_dir: str | None,
        as_json: bool,
        **options: str | None,
    ) -> None:
        """A new schedule of a task that is deployed."""
        wanted = _wanted(task, cron, options, key)
        _show(profile.client(environment, data_dir).create_schedule(wanted), as_json)


def _add_update(schedules: click.Group) -> None:
    @output.command(schedules, "update")
    @click.argument("schedule")
    @click.argument("task")
    @click.argument("cron")
    @_options
    @environment_options
    def update(
        schedule: str,
        task: str,
        cron: str,
        environment: str,
        data_dir: str | None,
        as_json: bool,
        **options: str | None,
    ) -> None:
        """Make a schedule what is asked for; what is left out takes its default."""
        wanted = _wanted(task, cron, options)
        _show(profile.client(environment, data_dir).update_schedule(schedule, wanted), as_json)


def _add_single(schedules: click.Group) -> None:
    @output.command(schedules, "get")
    @click.argument("schedule")
    @environment_options
    def get(schedule: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """One schedule."""
        _show(profile.client(environment, data_dir).retrieve_schedule(schedule), as_json)

    @output.command(schedules, "activate")
    @click.argument("schedule")
    @environment_options
    def activate(schedule: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Let a schedule fire, from its next tick on."""
        _show(profile.client(environment, data_dir).switch_schedule(schedule, True), as_json)

    @output.command(schedules, "deactivate")
    @click.argument("schedule")
    @environment_options
    def deactivate(schedule: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Let a schedule fire no longer."""
        _show(profile.client(environment, data_dir).switch_schedule(schedule, False), as_json)

    @output.command(schedules, "delete")
    @click.argument("schedule")
    @environment_options
    def delete(schedule: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Delete a schedule; its runs stay."""
        gone = profile.client(environment, data_dir).delete_schedule(schedule)
        output.show_json(gone) if as_json else click.echo(f"{gone['id']} is deleted")


def _add_backfill(schedules: click.Group) -> None:
    @output.command(schedules, "backfill")
    @click.argument("schedule")
    @click.option("--from", "begin", required=True, help="Where the time begins: an ISO date.")
    @click.option("--to", "end", required=True, help="Where it ends.")
    @environment_options
    def backfill(schedule: str, begin: str, end: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Make the runs of a time that is past, once each however often it is asked for."""
        filled = profile.client(environment, data_dir).backfill_schedule(schedule, begin, end)
        if as_json:
            output.show_json(filled)
        else:
            click.echo(f"{filled['ticks']} ticks, {filled['created']} new runs")


def _add_timezones(schedules: click.Group) -> None:
    @output.command(schedules, "timezones")
    @environment_options
    def timezones(environment: str, data_dir: str | None, as_json: bool) -> None:
        """The time zones that schedules can have."""
        found = profile.client(environment, data_dir).timezones()
        output.show_json(found) if as_json else click.echo("\n".join(found["timezones"]))


def _show(schedule: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.show_json(schedule)
        return
    generator = schedule["generator"]
    click.echo(clean(f"{schedule['id']}: {schedule['task']}, {generator['expression']} ({generator['description']})"))
    if not schedule["active"]:
        click.echo("not active")
    for name in ("timezone", "window", "overlap", "catchUp", "externalId", "deduplicationKey", "lastRun", "nextRun"):
        if name in schedule:
            click.echo(clean(f"{name}: {schedule[name]}"))
    if _fires(schedule):
        click.echo(f"fires: {_fires(schedule)} UTC, within its window")


def _fires(schedule: dict[str, Any]) -> str:
    """When its next tick fires, to the second, where a window makes that later than the tick."""
    if "window" not in schedule or "nextRunEffectiveAt" not in schedule:
        return ""
    return output.second(schedule["nextRunEffectiveAt"])
