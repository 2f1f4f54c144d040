"""`batches …`: runs that are asked for together."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from sojourn.cli import batch_files, output, profile
from sojourn.cli.environment import environment_options
from sojourn.cli.output import FAILED, clean
from sojourn.sdk import batch_calls
from sojourn.sdk.batch import batch as calls

#: Lines of a batch's flaws that are printed.
_SHOWN = 20


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def batches() -> None:
        """Trigger many runs together, and look at them."""

    batch_files.add(batches)
    _add_get(batches)
    _add_results(batches)
    _add_wait(batches)


def _add_get(batches: click.Group) -> None:
    @output.command(batches, "get")
    @click.argument("batch")
    @environment_options
    def get(batch: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """One batch: how far it is, and what could not be triggered."""
        _show(batch_calls.retrieved(profile.client(environment, data_dir), batch), as_json)


def _add_results(batches: click.Group) -> None:
    @output.command(batches, "results")
    @click.argument("batch")
    @click.option("--after", type=click.IntRange(0), help="Go on after the item with this index.")
    @environment_options
    def results(batch: str, after: int | None, environment: str, data_dir: str | None, as_json: bool) -> None:
        """How the runs of a batch that are over ended."""
        page = profile.client(environment, data_dir).batch_results(batch, after)
        if as_json:
            output.show_json(page)
            return
        rows = [("ok" if each["ok"] else "failed", each["taskIdentifier"], each["id"]) for each in page["items"]]
        output.table(("result", "task", "run"), rows, "no run of it is over")
        if "next" in page:
            click.echo(f"… more with --after {page['next']}")


def _add_wait(batches: click.Group) -> None:
    @output.command(batches, "wait")
    @click.argument("batch")
    @click.option("--timeout", type=click.FloatRange(0), help="Seconds to wait at most.")
    @environment_options
    def wait(batch: str, timeout: float | None, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Wait until all runs of a batch are over."""
        client = profile.client(environment, data_dir)
        with output.progress("runs", as_json) as step:
            state = calls.wait(
                batch,
                timeout,
                on_progress=step and (lambda state: step(state.finished_count, state.run_count)),
                client=client,
            )
        _show(state.raw, as_json)
        if state.status != "COMPLETED":
            sys.exit(FAILED)


def _show(found: Mapping[str, Any], as_json: bool) -> None:
    """One batch."""
    if as_json:
        output.show_json(found)
        return
    told = f"{len(found['runs'])} of {found['runCount']} runs, {found['finishedRunCount']} over"
    click.echo(f"{found['id']}: {found['status']}, {told}")
    for name in ("createdAt", "completedAt", "idempotencyKey"):
        if name in found:
            click.echo(clean(f"{name}: {found[name]}"))
    _show_flaws(found["processing"]["errors"])


def _show_flaws(flaws: list[dict[str, Any]]) -> None:
    if flaws:
        names = ("index", "taskIdentifier", "errorCode", "error")
        output.table(
            ("index", "task", "code", "error"), [tuple(str(each[name]) for name in names) for each in flaws[:_SHOWN]]
        )
    if len(flaws) > _SHOWN:
        click.echo(f"… and {len(flaws) - _SHOWN} more: see --json")
