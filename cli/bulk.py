"""`bulk …`, and what `runs cancel` and `runs replay` do to many runs: begun, watched, looked at, ended."""

from __future__ import annotations

import sys
from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options
from sojourn.cli.output import FAILED
from sojourn.sdk.bulk_actions import BulkActions, BulkActionState
from sojourn.sdk.client import Client


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def bulk() -> None:
        """Look at what is done to many runs, and end it."""

    @output.command(bulk, "list")
    @click.option("--limit", default=25, show_default=True, type=click.IntRange(1, 100))
    @environment_options
    def list_(limit: int, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Bulk actions, newest first."""
        page = profile.client(environment, data_dir).list_bulk_actions({"page[size]": limit})
        if as_json:
            output.show_json(page)
            return
        rows = [
            (each["status"], each["type"].lower(), each["id"], _counts(each), output.second(each["createdAt"]))
            for each in page["data"]
        ]
        output.table(("status", "what", "bulk action", "runs", "begun (UTC)"), rows, "no bulk action")

    @output.command(bulk, "get")
    @click.argument("action")
    @environment_options
    def get(action: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """How far a bulk action has come."""
        show(profile.client(environment, data_dir).retrieve_bulk_action(action), as_json)

    @output.command(bulk, "abort")
    @click.argument("action")
    @environment_options
    def abort(action: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Begin no run any more; those that were acted on stay so."""
        client = profile.client(environment, data_dir)
        client.abort_bulk_action(action)
        show(client.retrieve_bulk_action(action), as_json)


def follow(client: Client, begun: BulkActionState, detach: bool, as_json: bool) -> None:
    """Shows a bulk action until it is over; only that it has begun, if so asked. Exit 1 if it was aborted meanwhile."""
    if detach:
        output.show_json(begun.raw) if as_json else click.echo(begun.id)
        return
    with output.progress("runs", as_json) as step:
        over = BulkActions(client).wait(begun, on_progress=step and (lambda state: step(*_done(state))))
    show(over.raw, as_json)
    if over.status == "ABORTED":
        sys.exit(FAILED)


def show(action: Any, as_json: bool) -> None:
    """One bulk action."""
    if as_json:
        output.show_json(action)
        return
    name = f" ({output.clean(action['name'])})" if action.get("name") else ""
    click.echo(f"{action['id']}{name}: {action['type'].lower()} is {action['status']}, {_counts(action)}")


def _done(state: BulkActionState) -> tuple[int, int | None]:
    return state.succeeded + state.failed, state.total or None


def _counts(action: Any) -> str:
    counts = action["counts"]
    failed = f", {counts['failure']} failed" if counts["failure"] else ""
    return f"{counts['success']} of {counts['total']} done{failed}"
