"""`trigger` and `runs …`: ask for runs, look at them, act on them."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sojourn.cli import bulk, confirming, output, profile, run_details, run_shown, unknown_tasks
from sojourn.cli.environment import environment_options as environment_options
from sojourn.cli.numbers import Finite
from sojourn.cli.output import INTERRUPTED, REFUSED, USAGE, clean, fail
from sojourn.cli.run_filters import filter_options, filters_of
from sojourn.cli.run_pages import pages
from sojourn.cli.waiting_said import WaitingSaid
from sojourn.sdk.client import Client
from sojourn.sdk.durations import seconds
from sojourn.sdk.errors import PermissionDeniedError
from sojourn.sdk.protocol import FINAL_STATUSES
from sojourn.sdk.run import Runs
from sojourn.sdk.run_filters import query_of

#: Seconds that one call waits for a result.
_POLL = 30


def add(group: click.Group) -> None:
    """Registers the commands."""
    _add_trigger(group)

    @group.group()
    def runs() -> None:
        """Look at runs and act on them."""

    _add_list(runs)
    _add_single(runs)
    run_details.add(runs)
    _add_ending(runs)


def _add_trigger(group: click.Group) -> None:
    @output.command(group, "trigger")
    @click.argument("task")
    @click.option("--payload", help="The payload as JSON.")
    @click.option("--file", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="… from a file.")
    @click.option("--wait", is_flag=True, help="Wait for the result; exit 1 if the run fails.")
    @click.option("--follow", is_flag=True, help="Print the run's log as it comes, then its result.")
    @click.option("--delay", help="Start later: a duration like 10m, or an ISO date.")
    @click.option("--ttl", help="Give up if it has not started within this time.")
    @click.option("--queue", help="The queue to put it into.")
    @click.option("--key", "concurrency_key", help="A concurrency key.")
    @click.option("--idempotency-key", help="The same key leads to the same run.")
    @click.option("--idempotency-key-ttl", help="How long it does: 60s, 5m, 2h, 30d; absent: 30 days.")
    @click.option("--debounce", "debounce_key", help="One run for all triggers with this key; needs --delay.")
    @click.option("--debounce-mode", type=click.Choice(["leading", "trailing"]), help="Whose payload such a run has.")
    @click.option("--max-delay", help="How long after its first trigger such a run starts at the latest.")
    @click.option("--version", "version", help="The version to run on, as in 20260131.2; absent: the current one.")
    @click.option("--external-deployment-id", help="The version that was deployed under this name.")
    @click.option("--priority", type=Finite(), help="Seconds of head start in its queue.")
    @click.option("--max-attempts", type=int, help="Attempts, the first included.")
    @click.option("--max-duration", type=Finite(), help="Seconds that an attempt may compute; absent: as the task has it.")
    @click.option("--machine", help="A machine preset.")
    @click.option("--region", help="Where it runs: a region of SOJOURN_REGIONS, or default.")
    @click.option("--tag", "tags", multiple=True, help="A tag; may be given again.")
    @click.option("--metadata", help="What goes with the run, as a JSON object.")
    @click.option("--test", is_flag=True, help="Mark it as a test run.")
    @environment_options
    def trigger(
        task: str,
        payload: str | None,
        file: Path | None,
        wait: bool,
        follow: bool,
        environment: str,
        data_dir: str | None,
        as_json: bool,
        **given: Any,
    ) -> None:
        """Trigger TASK."""
        client = profile.client(environment, data_dir)
        made = client.trigger(task, _payload(payload, file), _options(given))
        if not wait and not follow:
            output.show_json(made) if as_json else click.echo(made["id"])
            _warn_of_unknown(client, task, given)
            return
        click.echo(f"triggered {made['id']}", err=True)
        known = ["NO_VERSION"] if _warn_of_unknown(client, task, given) else []
        said = None if as_json else WaitingSaid(client, made["id"], known)
        sys.exit(_stay(client, made["id"], follow, as_json, said))


def _page(client: Client, query: dict[str, Any], limit: int) -> dict[str, Any]:
    """One page of so many runs, made of several where they are rare."""
    read = list(pages(client, query, limit))
    ends = {name: end for name, end in read[0]["pagination"].items() if name != "next"}
    ends |= {name: end for name, end in read[-1]["pagination"].items() if name == "next"}
    return {"data": [run for page in read for run in page["data"]], "pagination": ends}


def _add_list(runs: click.Group) -> None:
    @output.command(runs, "list")
    @filter_options()
    @click.option("--hooks", is_flag=True, help="Runs that call the hooks of others' ends, which are left out else.")
    @click.option("--limit", default=25, show_default=True, type=click.IntRange(1, 100))
    @click.option("--after", help="Go on after this page: its `pagination.next`.")
    @environment_options
    def list_(
        hooks: bool,
        limit: int,
        after: str | None,
        environment: str,
        data_dir: str | None,
        as_json: bool,
        **given: Any,
    ) -> None:
        """The newest runs."""
        query = query_of(filters_of(given))
        if hooks:
            query["filter[hooks]"] = "true"
        if after:
            query["page[after]"] = after
        page = _page(profile.client(environment, data_dir), query, limit)
        if as_json:
            output.show_json(page)
            return
        now = datetime.now(UTC)
        rows = [
            (r["status"], r["taskIdentifier"], r["id"], run_shown.took_of(r, now), output.second(r["createdAt"]))
            for r in page["data"]
        ]
        output.table(
            ("status", "task", "run", "duration", "triggered (UTC)"),
            rows,
            "no run fits, so far" if "next" in page["pagination"] else "no run fits",
        )
        if "next" in page["pagination"]:
            click.echo(f"more: --after {page['pagination']['next']}")


def _add_single(runs: click.Group) -> None:
    @output.command(runs, "get")
    @click.argument("run")
    @environment_options
    def get(run: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """One run with its timeline."""
        client = profile.client(environment, data_dir)
        found, timeline = client.retrieve_whole(run), client.timeline(run)
        if as_json:
            output.show_json({**found, "timeline": timeline["snapshots"], "attempts": timeline["attempts"]})
            return
        run_shown.show_outcome(found)
        run_shown.show_attempts(timeline["attempts"], found)
        run_shown.show_details(found)
        if not found["isCompleted"]:
            run_shown.show_reasons(client.why(run))
        run_shown.show_timeline(timeline)

    @output.command(runs, "why")
    @click.argument("run")
    @environment_options
    def why(run: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """What keeps a run from running."""
        client = profile.client(environment, data_dir)
        found = client.why(run)
        if as_json:
            output.show_json(found)
            return
        click.echo(f"{found['id']} is {found['status']}" + ("" if found["isWaiting"] else " and waits for nothing"))
        run_shown.show_reasons(found)
        if any(each["reason"] == "NO_VERSION" for each in found["reasons"]):
            for line in unknown_tasks.warnings(client, [client.retrieve(run)["taskIdentifier"]]):
                click.echo(clean(f"  {line}"))

    @output.command(runs, "reschedule")
    @click.argument("run")
    @click.argument("delay")
    @environment_options
    def reschedule(run: str, delay: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Let a delayed run start after DELAY from now, like 10m, or at an ISO date."""
        found = profile.client(environment, data_dir).reschedule(run, delay)
        output.show_json(found) if as_json else click.echo(f"{found['id']} starts at {found['delayedUntil']}")

    @output.command(runs, "logs")
    @click.argument("run")
    @click.option("--follow", is_flag=True, help="Go on until the run is over.")
    @environment_options
    def logs(run: str, follow: bool, environment: str, data_dir: str | None, as_json: bool) -> None:
        """A run's log, and the error that it ended with."""
        client = profile.client(environment, data_dir)
        if follow:
            _follow(client, run, as_json)
        else:
            _print_lines(client, run, None, as_json)
        found = client.retrieve(run)
        if not as_json:
            run_shown.show_error(found)
        elif (line := run_shown.error_line(found)) is not None:
            click.echo(json.dumps(line))


def _add_ending(runs: click.Group) -> None:
    @output.command(runs, "cancel")
    @click.argument("run", nargs=-1)
    @filter_options("--error")
    @_bulk_options
    @environment_options
    def cancel(
        run: tuple[str, ...], environment: str, data_dir: str | None, as_json: bool, detach: bool, **given: Any
    ) -> None:
        """Cancel RUN, or several, or all that the filters find; those that are over stay as they are."""
        is_single, is_found = _is_single(run, given), _is_found(given)
        if is_found:
            confirming.require_answer(given["yes"])
        client = profile.client(environment, data_dir)
        if not is_single:
            if is_found and not given["yes"]:
                confirming.confirm_cancel(client, environment, filters_of(given))
            begun = Runs(client).bulk_cancel(
                run or None, name=given["name"], everything=given["everything"], **filters_of(given)
            )
            bulk.follow(client, begun, detach, as_json)
            return
        client.cancel(run[0])
        found = client.retrieve(run[0])
        output.show_json(found) if as_json else click.echo(f"{found['id']} is {found['status']}")

    @output.command(runs, "replay")
    @click.argument("run", nargs=-1)
    @filter_options("--region")
    @click.option("--of-region", "region", help="Only runs of these regions, separated by commas.")
    @click.option("--region", "to_region", help="Another region for the new runs than the old ones'.")
    @_bulk_options
    @environment_options
    def replay(
        run: tuple[str, ...],
        to_region: str | None,
        environment: str,
        data_dir: str | None,
        as_json: bool,
        detach: bool,
        **given: Any,
    ) -> None:
        """New runs of the same tasks with the same payloads: of RUN, or several, or all that the filters find."""
        is_single, is_found = _is_single(run, given), _is_found(given)
        if is_found:
            confirming.require_answer(given["yes"])
        client = profile.client(environment, data_dir)
        if not is_single:
            if is_found and not given["yes"]:
                confirming.confirm_replay(client, environment, filters_of(given))
            begun = Runs(client).bulk_replay(
                run or None,
                name=given["name"],
                to_region=to_region,
                everything=given["everything"],
                **filters_of(given),
            )
            bulk.follow(client, begun, detach, as_json)
            return
        made = client.replay(run[0], to_region)
        output.show_json(made) if as_json else click.echo(made["id"])


def _bulk_options(function: Any) -> Any:
    function = confirming.yes_option(function)
    function = click.option("--detach", is_flag=True, help="Of many runs: do not wait until all are done.")(function)
    function = click.option("--name", help="Of many runs: what the bulk action is called.")(function)
    return click.option("--all", "everything", is_flag=True, help="Every run there is.")(function)


def _is_single(run: tuple[str, ...], given: dict[str, Any]) -> bool:
    """Whether one run is named and nothing else."""
    query_of(filters_of(given))  # refuses a filter that has no value
    if len(run) + len(filters_of(given)) + given["everything"] == 0:
        fail("which runs? name them, or give filters such as --task and --period, or --all", USAGE)
    if [bool(run), bool(filters_of(given)), given["everything"]].count(True) > 1:
        fail("name runs, or give filters, or --all, and one of these alone: which runs are meant?", USAGE)
    return len(run) == 1 and not _is_found(given)


def _is_found(given: dict[str, Any]) -> bool:
    """Whether runs are meant that nobody has named."""
    return bool(filters_of(given)) or given["everything"]


def _payload(text: str | None, file: Path | None) -> Any:
    if text is not None and file is not None:
        fail("--payload and --file are one too many", USAGE)
    if file is not None:
        text = file.read_text(encoding="utf-8")
    return None if text is None else output.json_of("the payload", text)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    names = {
        "delay": "delay",
        "ttl": "ttl",
        "concurrency_key": "concurrencyKey",
        "idempotency_key": "idempotencyKey",
        "version": "lockToVersion",
        "max_duration": "maxDuration",
        "priority": "priority",
        "max_attempts": "maxAttempts",
        "machine": "machine",
        "region": "region",
        "external_deployment_id": "externalDeploymentId",
    }
    options = {wire: given[name] for name, wire in names.items() if given.get(name) is not None}
    if given.get("queue"):
        options["queue"] = {"name": given["queue"]}
    if given.get("tags"):
        options["tags"] = list(given["tags"])
    if given.get("test"):
        options["test"] = True
    if given.get("metadata") is not None:
        options["metadata"] = output.json_of("--metadata", given["metadata"], dict)
    if given.get("idempotency_key_ttl") is not None:
        if "idempotencyKey" not in options:
            fail("--idempotency-key-ttl is of use with --idempotency-key KEY only", USAGE)
        options["idempotencyKeyTTL"] = f"{seconds(given['idempotency_key_ttl'])}s"
    if given.get("debounce_key"):
        options["debounce"] = _debounce(options.pop("delay", None), given)
    elif given.get("debounce_mode") or given.get("max_delay"):
        fail("--debounce-mode and --max-delay are of use with --debounce KEY only", USAGE)
    return options


def _debounce(delay: str | None, given: dict[str, Any]) -> dict[str, Any]:
    if delay is None:
        fail("--debounce needs --delay: how long after the last trigger the run starts", USAGE)
    named = {"mode": given.get("debounce_mode"), "maxDelay": given.get("max_delay")}
    return {"key": given["debounce_key"], "delay": delay, **{name: value for name, value in named.items() if value}}


def _warn_of_unknown(client: Client, task: str, given: dict[str, Any]) -> bool:
    """Says at once that the run will wait for a version, if so; one that was named was looked at by the API."""
    if given["version"] is not None or given["external_deployment_id"] is not None:
        return False
    lines = unknown_tasks.warnings(client, [task])
    for line in lines:
        click.echo(clean(f"sojourn: {line}"), err=True)
    return bool(lines)


def _stay(client: Client, run: str, follow: bool, as_json: bool, said: WaitingSaid | None) -> int:
    """Waits for a run that was triggered; the exit code. Whatever ends the waiting, the run goes on and is named.

    `said`: who tells meanwhile what keeps it.
    """
    try:
        if follow:
            _follow(client, run, as_json, said)
        else:
            while client.result(run, wait=_POLL if said is None else min(said.seconds, _POLL)) is None:
                if said is not None:
                    said.look()
        return run_shown.conclude(client.retrieve_whole(run), as_json)
    except KeyboardInterrupt:
        fail(
            f"interrupted; {run} goes on: `sojourn runs get {run}` shows it, `sojourn runs cancel {run}` ends it",
            INTERRUPTED,
        )
    except PermissionDeniedError as error:
        fail(f"{run} is triggered, and this key may not wait for it: {error}", REFUSED)


def _follow(client: Client, run: str, as_json: bool, said: WaitingSaid | None = None) -> None:
    """Prints lines as they come; the last look is after the end, so that none is missed."""
    after: str | None = None
    while True:
        over = client.retrieve(run)["status"] in FINAL_STATUSES
        after = _print_lines(client, run, after, as_json)
        if over:
            return
        if said is not None:
            said.look()
        time.sleep(0.3)


def _print_lines(client: Client, run: str, after: str | None, as_json: bool) -> str | None:
    while True:
        page = client.logs(run, after)
        for line in page["lines"]:
            if as_json:
                click.echo(json.dumps(line))
            else:
                properties = " ".join(f"{k}={v!r}" for k, v in line.get("properties", {}).items())
                told = f"{line['at'][11:23]} {line['level']:<5} {line['message']} {properties}"
                click.echo(clean(told.rstrip()))
        if not page.get("next"):
            return after
        after = page["next"]
