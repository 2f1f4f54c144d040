"""`queues …`: what waits where, and how much of it may run at once."""

from __future__ import annotations

from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options
from sojourn.cli.numbers import Finite
from sojourn.cli.output import USAGE, fail
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ApiError
from sojourn.sdk.queues import address


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def queues() -> None:
        """Look at queues, pause them, limit them. A queue is named as it is, by task/<task>, or by its id."""

    _add_reading(queues)
    _add_pausing(queues)
    _add_limit(queues)
    _add_rate(queues)


def _add_reading(queues: click.Group) -> None:
    @output.command(queues, "list")
    @click.option("--page", default=1, show_default=True, type=click.IntRange(min=1), help="Which page.")
    @click.option("--limit", default=25, show_default=True, type=click.IntRange(1, 100), help="Queues on a page.")
    @environment_options
    def list_(page: int, limit: int, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Queues by their names."""
        found = profile.client(environment, data_dir).list_queues(page, limit)
        if as_json:
            output.show_json(found)
            return
        rows = [
            (_name(each), each["running"], each["queued"], _limit(each), "paused" if each["paused"] else "")
            for each in found["data"]
        ]
        output.table(("queue", "running", "queued", "limit", ""), rows, "no queue: deploy a task, or trigger into one")
        numbers = found["pagination"]
        if numbers["totalPages"] > 1:
            click.echo(f"page {numbers['currentPage']} of {numbers['totalPages']}, {numbers['count']} queues")

    @output.command(queues, "get")
    @click.argument("queue")
    @environment_options
    def get(queue: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """One queue."""
        _show(profile.client(environment, data_dir).retrieve_queue(*address(queue)), as_json)


def _add_pausing(queues: click.Group) -> None:
    @output.command(queues, "pause")
    @click.argument("queue")
    @environment_options
    def pause(queue: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Hold a queue's runs back; those that run go on."""
        _show(profile.client(environment, data_dir).pause_queue(*address(queue), paused=True), as_json)

    @output.command(queues, "resume")
    @click.argument("queue")
    @environment_options
    def resume(queue: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Let a paused queue go on."""
        _show(profile.client(environment, data_dir).pause_queue(*address(queue), paused=False), as_json)


def _add_limit(queues: click.Group) -> None:
    @output.command(queues, "limit")
    @click.argument("queue")
    @click.argument("limit", type=click.IntRange(0, 100_000), required=False)
    @click.option("--percent", type=Finite(), help="Of the environment's limit, instead of a number.")
    @click.option("--key", help="Of this concurrency key, in place of what each has.")
    @click.option("--reset", is_flag=True, help="Let the limit hold again that code declares, or that each key has.")
    @environment_options
    def limit(
        queue: str,
        limit: int | None,
        percent: float | None,
        key: str | None,
        reset: bool,
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """Set how many runs of QUEUE run at once, for each concurrency key by itself."""
        if (limit is not None) + (percent is not None) + reset != 1:
            fail("give one of a limit, --percent and --reset", USAGE)
        client, named = profile.client(environment, data_dir), address(queue)
        if reset:
            _show(_without_limit(client, *named, key), as_json)
        else:
            given = {"percent": percent} if limit is None else {"concurrencyLimit": limit}
            _show(client.override_queue_limit(*named, {**given, **_of_key(key)}), as_json)


def _without_limit(client: Client, name: str, kind: str, key: str | None) -> dict[str, Any]:
    """The queue as code has it, also where nobody had said otherwise."""
    try:
        return client.reset_queue_limit(name, kind, key)
    except ApiError as error:
        if error.code != "QUEUE_NOT_OVERRIDDEN":
            raise
        return client.retrieve_queue(name, kind)


def _add_rate(queues: click.Group) -> None:
    @output.command(queues, "rate")
    @click.argument("queue")
    @click.argument("limit", type=click.IntRange(1, 1_000_000), required=False)
    @click.option("--per", "period", default="1m", show_default=True, help="The period: a duration like 1s, 5m or 1d.")
    @click.option("--burst", type=int, help="So many may start at once; absent: a second's worth, 1 at least.")
    @click.option("--per-key", is_flag=True, help="For each concurrency key by itself.")
    @click.option("--key", help="For this concurrency key, in place of what each has.")
    @click.option(
        "--reset",
        is_flag=True,
        help="The rate that code declares holds again; with --per-key: of each key; with --key: of that.",
    )
    @environment_options
    def rate(
        queue: str,
        limit: int | None,
        period: str,
        burst: int | None,
        per_key: bool,
        key: str | None,
        reset: bool,
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """Set how many runs of QUEUE may start in a period."""
        if (limit is not None) + reset != 1:
            fail("give either a limit or --reset", USAGE)
        if per_key and key is not None:
            fail("give either --per-key or --key", USAGE)
        client, named = profile.client(environment, data_dir), address(queue)
        if reset:
            _show(client.reset_queue_rate(*named, per_key=per_key, key=key), as_json)
        else:
            given = {"limit": limit, "period": period, "perKey": per_key, **({} if burst is None else {"burst": burst})}
            _show(client.set_queue_rate(*named, {**given, **_of_key(key)}), as_json)


def _show(queue: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.show_json(queue)
        return
    state = ", paused" if queue["paused"] else ""
    limit = f"limit {_limit(queue)}" + _rates(queue)
    click.echo(f"{_name(queue)}: {queue['running']} running, {queue['queued']} queued, {limit}{state}")
    keys = queue.get("keys", ())
    if keys:
        rows = [(output.clean(each["concurrencyKey"]), _key_limit(each), _rate(each.get("rate"))) for each in keys]
        output.table(("key", "limit", "rate"), rows)


def _of_key(key: str | None) -> dict[str, str]:
    return {} if key is None else {"concurrencyKey": key}


def _key_limit(key: dict[str, Any]) -> str:
    return "as each" if key["concurrencyLimit"] is None else str(key["concurrencyLimit"])


def _rate(rate: dict[str, Any] | None) -> str:
    return "as each" if rate is None else f"{rate['limit']} starts per {rate['period']}"


def _name(queue: dict[str, Any]) -> str:
    name = f"task/{queue['name']}" if queue["type"] == "task" else queue["name"]
    return output.clean(name)


def _limit(queue: dict[str, Any]) -> str:
    """The limit that holds, and the declared one where that is another."""
    limits = queue["concurrency"]
    current = "the environment's" if limits["current"] is None else str(limits["current"])
    if not limits["overriddenAt"]:
        return current
    return f"{current} (declared: {'none' if limits['base'] is None else limits['base']})"


def _rates(queue: dict[str, Any]) -> str:
    rates = [
        f", {_rate(queue[name])}{of_whom}" for name, of_whom in (("rate", ""), ("keyRate", " and key")) if name in queue
    ]
    return "".join(rates)
