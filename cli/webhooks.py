"""`webhooks …`: who is told when runs end."""

from __future__ import annotations

from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.output import clean
from sojourn.cli.runs import environment_options

_EVENTS = ("completed", "failed", "crashed", "canceled", "expired", "timed_out", "system_failure")
_STATUS = click.Choice(["PENDING", "DELIVERED", "FAILED"], case_sensitive=False)


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def webhooks() -> None:
        """Say who is told when runs end, and see what was sent."""

    _add_list(webhooks)
    _add_create(webhooks)
    _add_single(webhooks)
    _add_deliveries(webhooks)


def _add_list(webhooks: click.Group) -> None:
    @output.command(webhooks, "list")
    @click.option("--page", default=1, show_default=True, type=click.IntRange(1), help="Which page.")
    @click.option("--limit", default=25, show_default=True, type=click.IntRange(1, 100), help="Webhooks on a page.")
    @environment_options
    def list_(page: int, limit: int, environment: str, data_dir: str | None, as_json: bool) -> None:
        """The newest webhooks."""
        found = profile.client(environment, data_dir).list_webhooks({"page": page, "perPage": limit})
        if as_json:
            output.show_json(found)
            return
        rows = [(each["id"], each["url"], _state(each), _of_events(each["events"])) for each in found["data"]]
        output.table(("webhook", "url", "state", "events"), rows, "no webhook")


def _options(function: Any) -> Any:
    """What a webhook can be, beside its URL."""
    function = click.option("--description", help="For people.")(function)
    function = click.option("--task", "tasks", multiple=True, help="Of whose runs; absent: all tasks'.")(function)
    return click.option(
        "--event", "events", multiple=True, type=click.Choice(_EVENTS), help="What to be told of; absent: every end."
    )(function)


def _wanted(url: str, events: tuple[str, ...], tasks: tuple[str, ...], description: str | None) -> dict[str, Any]:
    """A webhook on the wire."""
    given = {
        "url": url,
        "events": [f"run.{event}" for event in events],
        "tasks": list(tasks),
        "description": description,
    }
    return {name: value for name, value in given.items() if value}


def _add_create(webhooks: click.Group) -> None:
    @output.command(webhooks, "create")
    @click.argument("url")
    @_options
    @environment_options
    def create(
        url: str,
        events: tuple[str, ...],
        tasks: tuple[str, ...],
        description: str | None,
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """A new webhook. Its secret is shown now, and never again."""
        wanted = _wanted(url, events, tasks, description)
        _show(profile.client(environment, data_dir).create_webhook(wanted), as_json)

    @output.command(webhooks, "update")
    @click.argument("webhook")
    @click.argument("url")
    @_options
    @environment_options
    def update(
        webhook: str,
        url: str,
        events: tuple[str, ...],
        tasks: tuple[str, ...],
        description: str | None,
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """Make a webhook what is asked for; what is left out takes its default. Its secret stays."""
        wanted = _wanted(url, events, tasks, description)
        _show(profile.client(environment, data_dir).update_webhook(webhook, wanted), as_json)


def _add_single(webhooks: click.Group) -> None:
    @output.command(webhooks, "get")
    @click.argument("webhook")
    @environment_options
    def get(webhook: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """One webhook."""
        _show(profile.client(environment, data_dir).retrieve_webhook(webhook), as_json)

    @output.command(webhooks, "rotate-secret")
    @click.argument("webhook")
    @environment_options
    def rotate_secret(webhook: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """A new secret; messages are signed with the one before, too, for a day."""
        _show(profile.client(environment, data_dir).rotate_webhook(webhook), as_json)

    @output.command(webhooks, "enable")
    @click.argument("webhook")
    @environment_options
    def enable(webhook: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Send messages again, those that wait as well."""
        _show(profile.client(environment, data_dir).switch_webhook(webhook, True), as_json)

    @output.command(webhooks, "disable")
    @click.argument("webhook")
    @environment_options
    def disable(webhook: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Send no messages."""
        _show(profile.client(environment, data_dir).switch_webhook(webhook, False), as_json)

    @output.command(webhooks, "delete")
    @click.argument("webhook")
    @environment_options
    def delete(webhook: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Delete a webhook, and what is told of its messages."""
        gone = profile.client(environment, data_dir).delete_webhook(webhook)
        output.show_json(gone) if as_json else click.echo(f"{gone['id']} is deleted")


def _add_deliveries(webhooks: click.Group) -> None:
    @output.command(webhooks, "deliveries")
    @click.argument("webhook")
    @click.option("--status", type=_STATUS, help="Only those.")
    @click.option("--page", default=1, show_default=True, type=click.IntRange(1), help="Which page.")
    @click.option("--limit", default=25, show_default=True, type=click.IntRange(1, 100), help="Messages on a page.")
    @environment_options
    def deliveries(
        webhook: str, status: str | None, page: int, limit: int, environment: str, data_dir: str | None, as_json: bool
    ) -> None:
        """The newest messages to a webhook, and what came of them."""
        query = {"page": page, "perPage": limit} | ({"filter[status]": status} if status else {})
        found = profile.client(environment, data_dir).webhook_deliveries(webhook, query)
        if as_json:
            output.show_json(found)
            return
        rows = [
            (each["id"], each["event"], each.get("run", ""), _outcome(each), each["attempts"]) for each in found["data"]
        ]
        output.table(("message", "event", "run", "status", "attempts"), rows, "no message")

    @output.command(webhooks, "redeliver")
    @click.argument("webhook")
    @click.argument("message")
    @environment_options
    def redeliver(webhook: str, message: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Send a message again, with the id that it had."""
        again = profile.client(environment, data_dir).redeliver(webhook, message)
        output.show_json(again) if as_json else click.echo(f"{again['id']} is sent again")

    @output.command(webhooks, "test")
    @click.argument("webhook")
    @environment_options
    def test(webhook: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Send a message that is about no run, to see whether it arrives."""
        sent = profile.client(environment, data_dir).test_webhook(webhook)
        if as_json:
            output.show_json(sent)
        else:
            click.echo(f"{sent['id']} is on its way: `sojourn webhooks deliveries {webhook}` says what comes of it")


def _show(webhook: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.show_json(webhook)
        return
    click.echo(clean(f"{webhook['id']}: {webhook['url']}, {_state(webhook)}"))
    click.echo(f"events: {_of_events(webhook['events'])}")
    for name in ("tasks", "description", "disabledReason", "failingSince", "previousSecretUntil", "secret"):
        if name in webhook:
            value = webhook[name]
            click.echo(clean(f"{name}: {', '.join(value) if isinstance(value, list) else value}"))


def _state(webhook: dict[str, Any]) -> str:
    if not webhook["enabled"]:
        return "disabled"
    return f"failing ({webhook['failures']})" if webhook["failures"] else "enabled"


def _of_events(events: list[str]) -> str:
    return "all" if len(events) == len(_EVENTS) else ", ".join(event.removeprefix("run.") for event in events)


def _outcome(delivery: dict[str, Any]) -> str:
    word = str(delivery["status"]).lower()
    return f"{word}: {delivery['error']}" if "error" in delivery else word
