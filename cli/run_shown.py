"""A run for people: what became of it and why, what it was asked for, how it went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from sojourn.cli import output
from sojourn.cli.json_text import shown
from sojourn.cli.output import FAILED, OK, clean

#: Characters of a value that are shown, runs of a list, and characters of an attempt's error; --json has all.
_VALUE, _CHILDREN, _LINE = 2_000, 20, 300


def conclude(run: dict[str, Any], as_json: bool) -> int:
    """How a run stands; the exit code that goes with it."""
    if as_json:
        output.show_json(run)
    else:
        show_outcome(run)
    return OK if run["status"] == "COMPLETED" else FAILED


def show_outcome(run: dict[str, Any]) -> None:
    """Its status, and its output or its error with the traceback."""
    attempts = "1 attempt" if run["attemptCount"] == 1 else f"{run['attemptCount']} attempts"
    took = took_of(run, datetime.now(UTC))
    click.echo(clean(f"{run['taskIdentifier']} {run['id']}: {run['status']}, {attempts}, {took}"))
    if "output" in run:
        _show_value("output", run["output"])
    show_error(run)


def took_of(run: dict[str, Any], now: datetime) -> str:
    """How long it has computed; of one that executes, and has not told yet, how long ago it was started."""
    if run["isExecuting"] and "startedAt" in run and not run["durationMs"]:
        since = now - datetime.fromisoformat(run["startedAt"])
        return f"{output.duration(max(since / timedelta(milliseconds=1), 0))} so far"
    return output.duration(run["durationMs"])


def show_error(run: dict[str, Any]) -> None:
    """The error that it ended with, and where in the code that was; nothing for a run that has none."""
    if "error" in run:
        click.echo(clean(f"error: {error_of(run['error'])}"))
        for line in run["error"].get("stackTrace", "").rstrip().splitlines():
            click.echo(clean(f"  {line}"))


def show_attempts(attempts: Sequence[dict[str, Any]], run: dict[str, Any]) -> None:
    """Why attempts failed, a line each; not the last one, where its error is the run's, which is shown by itself."""
    ended = error_of(run["error"]) if "error" in run else None
    for place, attempt in enumerate(attempts, 1):
        if "error" in attempt and not (place == len(attempts) and error_of(attempt["error"]) == ended):
            click.echo(clean(f"attempt {attempt['number']} failed: {brief(attempt['error'])}"))


def brief(error: dict[str, Any]) -> str:
    """The first line of an error, cut where it is long."""
    first = error_of(error).partition("\n")[0]
    return first if len(first) <= _LINE else f"{first[:_LINE]}…"


def error_line(run: dict[str, Any]) -> dict[str, Any] | None:
    """The same as a line of its log, for machines."""
    if "error" not in run:
        return None
    dated = {"at": run["finishedAt"]} if "finishedAt" in run else {}
    return {**dated, "level": "ERROR", "message": error_of(run["error"]), "error": run["error"]}


def error_of(error: dict[str, Any]) -> str:
    """`KeyError: 'amount'`; the message of an error of the platform's own begins with its code."""
    name, message = error.get("name") or "", error.get("message") or ""
    return message if not name or message == name or message.startswith(f"{name}:") else f"{name}: {message}".rstrip(": ")


def show_details(run: dict[str, Any]) -> None:
    """What it was asked for, and by whom."""
    where = f"{run['queue']['name']}, {run['machine']}"
    _show("queue", where if run["region"] == "default" else f"{where}, region {run['region']}")
    _show("version", run.get("version"))
    _show("triggered", _moment(run["createdAt"]))
    _show("started", _moment(run.get("startedAt")))
    _show("finished", _moment(run.get("finishedAt")))
    _show("starts", _moment(run.get("delayedUntil") if run["status"] == "DELAYED" else None))
    _show("ttl", run.get("ttl"))
    _show("key", run.get("idempotencyKey"))
    _show("tags", ", ".join(run["tags"]))
    _show("batch", run.get("batchId"))
    _show("schedule", run.get("schedule", {}).get("id"))
    for name in ("payload", "metadata"):
        if run.get(name) is not None:
            _show_value(name, run[name])
    related = run["relatedRuns"]
    for name, word in (
        ("parent", "parent"),
        ("root", "root"),
        ("hook", "hooks of its end"),
        ("hookOf", "tells the end of"),
    ):
        if name in related and related[name]["id"] != run["id"]:
            _show_relative(word, related[name])
    children = related.get("children", [])
    for child in children[:_CHILDREN]:
        _show_relative("child", child)
    if len(children) > _CHILDREN:
        click.echo(f"… and {len(children) - _CHILDREN} more children: see --json")


def show_reasons(found: dict[str, Any]) -> None:
    """What keeps a run from running, a line each, and what to do where that is known."""
    for each in found["reasons"]:
        until = f" until {_moment(each['until'])}" if "until" in each else ""
        click.echo(clean(f"{each['reason']}: {each['message']}{until}"))
        if "nextStep" in each:
            click.echo(clean(f"  {each['nextStep']}"))
        if "limit" in each:
            click.echo(f"  {each['held']} of {each['limit']} in use" + "".join(f"\n  {run}" for run in each["heldBy"]))
        if each.get("waits"):
            _show_waits(each)


def show_timeline(timeline: dict[str, Any]) -> None:
    """Its history."""
    rows = [(_moment(s["createdAt"]), s["event"], s["status"], s.get("description", "")) for s in timeline["snapshots"]]
    output.table(("at (UTC)", "event", "status", ""), rows)


def _show_waits(waiting: dict[str, Any]) -> None:
    click.echo(f"waits for {waiting['need']} of:" if len(waiting["waits"]) > 1 else "waits for:")
    rows = [
        (each["kind"], each.get("run") or each["waitpoint"], each["status"], _moment(each.get("until")) or "")
        for each in waiting["waits"]
    ]
    output.table(("kind", "what", "status", "until (UTC)"), rows)


def _show(name: str, value: str | None) -> None:
    if value:
        click.echo(clean(f"{name}: {value}"))


def _show_value(name: str, value: Any) -> None:
    text = shown(value)
    cut = "" if len(text) <= _VALUE else f" … ({len(text)} characters: see --json)"
    click.echo(f"{name}: {text[:_VALUE]}{cut}")


def _show_relative(word: str, run: dict[str, Any]) -> None:
    click.echo(clean(f"{word}: {run['id']} {run['taskIdentifier']}, {run['status']}"))


def _moment(text: str | None) -> str | None:
    """A date of the wire for people, to the millisecond."""
    return text[:23].removesuffix("Z").replace("T", " ") if text else None
