"""`runs events|trace|result|metadata|tag|reset-key`: what else there is to a run, and what may be changed of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from sojourn.cli import output, profile, run_shown
from sojourn.cli.environment import environment_options
from sojourn.cli.json_text import shown
from sojourn.cli.output import FAILED, clean, fail
from sojourn.sdk.conditions import task_result
from sojourn.sdk.run import Runs

_NS_PER_MS = 1_000_000
#: The level of a span that is no log line.
_NO_LINE = "TRACE"
#: What is said of runs without an output that have not just failed.
_ENDED = {"CANCELED": "was cancelled", "EXPIRED": "has expired", "TIMED_OUT": "has timed out"}
#: Seconds that one call waits for a result.
_POLL = 30


def add(runs: click.Group) -> None:
    """Registers the commands."""
    _add_spans(runs)
    _add_result(runs)
    _add_changes(runs)


def _add_spans(runs: click.Group) -> None:
    @output.command(runs, "events")
    @click.argument("run")
    @environment_options
    def events(run: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """What happened in a run: its attempts, waits, log lines and the runs below it, in the order of their beginning."""
        client = profile.client(environment, data_dir)
        found = client.events(run)
        if as_json:
            output.show_json(found)
            return
        errors = _errors(client.trace(run)["trace"]["rootSpan"])
        rows = [
            (
                _clock(each["startTime"]),
                _level(each),
                each["message"] + errors.get(each["spanId"], ""),
                _took(each),
                each["runId"],
            )
            for each in found["events"]
        ]
        output.table(("at (UTC)", "level", "what", "took", "run"), rows)

    @output.command(runs, "trace")
    @click.argument("run")
    @environment_options
    def trace(run: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """What happened in a run, as a tree: below each span its parts; and the error that it ended with."""
        client = profile.client(environment, data_dir)
        found, ended = client.trace(run), client.retrieve(run)
        if as_json:
            output.show_json({**found, "error": ended["error"]} if "error" in ended else found)
            return
        _show_span(found["trace"]["rootSpan"], 0)
        run_shown.show_error(ended)


def _add_result(runs: click.Group) -> None:
    @output.command(runs, "result")
    @click.argument("run")
    @click.option("--wait", is_flag=True, help="Wait until the run is over.")
    @environment_options
    def result(run: str, wait: bool, environment: str, data_dir: str | None, as_json: bool) -> None:
        """A run's output, as JSON; exit 1 if it has failed, or is not over."""
        client = profile.client(environment, data_dir)
        found = client.result(run, _POLL if wait else 0)
        while wait and found is None:
            found = client.result(run, _POLL)
        if found is None:
            fail(f"{run} is not over: wait for it with --wait", FAILED)
        told = task_result(found, "the run")
        if as_json:
            output.show_json({**found, "output": told.output} if told.ok else found)
        elif told.ok:
            click.echo(shown(told.output))
        if not told.ok:
            error = told.error or {}
            words = [error.get(name) for name in ("code", "name", "message", "raw")]
            ended = _ENDED.get(client.retrieve(run)["status"], "has failed")
            fail(f"{run} {ended}: {' '.join(str(word) for word in words if word)}", FAILED)


def _add_changes(runs: click.Group) -> None:
    @output.command(runs, "metadata")
    @click.argument("run")
    @click.option("--replace", help="All of it becomes this JSON object.")
    @click.option("--set", "sets", nargs=2, multiple=True, metavar="FIELD JSON", help="A field gets this value.")
    @click.option("--delete", "deletes", multiple=True, metavar="FIELD", help="A field goes.")
    @environment_options
    def metadata(
        run: str,
        replace: str | None,
        sets: tuple[tuple[str, str], ...],
        deletes: tuple[str, ...],
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """A run's metadata as JSON, changed before if so asked; all changes are made, or none."""
        client = profile.client(environment, data_dir)
        whole = None if replace is None else output.json_of("--replace", replace, dict)
        changes: list[dict[str, Any]] = [
            {"type": "set", "key": field, "value": output.json_of(f"--set {field}", value)} for field, value in sets
        ]
        changes += [{"type": "delete", "key": field} for field in deletes]
        if whole is None and not changes:
            held = Runs(client).metadata(run)
        else:
            held = Runs(client).update_metadata(run, whole, operations=changes)
        output.show_json(held)

    @output.command(runs, "tag")
    @click.argument("run")
    @click.argument("tag", nargs=-1, required=True)
    @environment_options
    def tag(run: str, tag: tuple[str, ...], environment: str, data_dir: str | None, as_json: bool) -> None:
        """Add TAG, or several, to a run, which has 10 at most."""
        client = profile.client(environment, data_dir)
        client.add_tags(run, tag)
        found = client.retrieve(run)
        output.show_json(found) if as_json else click.echo(clean(f"{found['id']}: {', '.join(found['tags'])}"))

    @output.command(runs, "reset-key")
    @click.argument("task")
    @click.argument("key")
    @click.option("--run", help="The run whose code wrote the key, if code of a task did.")
    @environment_options
    def reset_key(task: str, key: str, run: str | None, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Free an idempotency key of TASK: the next trigger with it makes a run."""
        Runs(profile.client(environment, data_dir)).reset_idempotency_key(task, key, run_id=run)
        output.show_json({"task": task, "key": key}) if as_json else click.echo(clean(f"{key} is free"))


def _show_span(span: dict[str, Any], level: int) -> None:
    data = span["data"]
    said = f"{_level(data)} " if _level(data) else ""
    run = f" {span['runId']}" if "queueName" in data else ""
    took = _took(data)
    told = f"{'  ' * level}{data['startTime'][11:23]} {said}{data['message']}{run}"
    click.echo(clean(told + (f" ({took})" if took else "") + _error(data)))
    for child in span["children"]:
        _show_span(child, level + 1)


def _errors(span: dict[str, Any]) -> dict[str, str]:
    """Of the spans of a tree that failed: why, by their ids."""
    found = {span["id"]: _error(span["data"])}
    for child in span["children"]:
        found |= _errors(child)
    return found


def _error(data: dict[str, Any]) -> str:
    """Why an attempt failed, to be put behind its name; what a log line calls an error is its own."""
    error = data.get("properties", {}).get("error") if data["level"] == _NO_LINE else None
    return f": {run_shown.brief(error)}" if error else ""


def _level(span: dict[str, Any]) -> str:
    return "" if span["level"] == _NO_LINE else str(span["level"])


def _took(span: dict[str, Any]) -> str:
    """How long it took, and how that ended; nothing for a log line."""
    if span["level"] != _NO_LINE:
        return ""
    if span["isPartial"]:
        return "goes on"
    ended = "failed" if span["isError"] else "cancelled" if span["isCancelled"] else ""
    took = output.duration(span["duration"] / _NS_PER_MS) if span["duration"] else ""
    return ", ".join(part for part in (took, ended) if part)


def _clock(nanoseconds: str) -> str:
    return datetime.fromtimestamp(int(nanoseconds) / 1e9, UTC).isoformat(timespec="milliseconds")[11:23]
