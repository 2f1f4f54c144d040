"""`tokens …`: what runs wait for until somebody completes it."""

from __future__ import annotations

from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options
from sojourn.cli.output import clean
from sojourn.cli.run_filters import one_or_several
from sojourn.sdk.filter_words import parameter


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def tokens() -> None:
        """Make, look at and complete what runs wait for."""

    _add_create(tokens)
    _add_list(tokens)
    _add_single(tokens)


def _add_create(tokens: click.Group) -> None:
    @output.command(tokens, "create")
    @click.option("--timeout", help="How long it is waited for: a duration like 2d, or an ISO date; absent: for ever.")
    @click.option("--idempotency-key", help="The same key leads to the same token.")
    @click.option("--idempotency-key-ttl", help="How long it does: 60s, 5m, 2h, 30d; absent: as long as runs are kept.")
    @click.option("--tag", "tags", multiple=True, help="A tag; may be given again.")
    @environment_options
    def create(
        timeout: str | None,
        idempotency_key: str | None,
        idempotency_key_ttl: str | None,
        tags: tuple[str, ...],
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """A new token, and the URL that completes it without a key."""
        given = {
            "timeout": timeout,
            "idempotencyKey": idempotency_key,
            "idempotencyKeyTTL": idempotency_key_ttl,
            "tags": list(tags) or None,
        }
        options = {name: value for name, value in given.items() if value is not None}
        made = profile.client(environment, data_dir).create_token(options)
        if as_json:
            output.show_json(made)
        else:
            click.echo(f"{made['id']}\n{made['url']}")


def _add_list(tokens: click.Group) -> None:
    @output.command(tokens, "list")
    @click.option("--status", help="Only these, separated by commas: waiting, completed, timed_out.")
    @click.option("--tag", "tags", multiple=True, help="Only tokens with one of these tags, separated by commas.")
    @click.option("--idempotency-key", help="Only the one that this key leads to.")
    @click.option("--limit", default=25, show_default=True, type=click.IntRange(1, 100))
    @environment_options
    def list_(
        status: str | None,
        tags: tuple[str, ...],
        idempotency_key: str | None,
        limit: int,
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """The newest tokens."""
        query: dict[str, Any] = {"page[size]": limit}
        if status:
            query["filter[status]"] = status.upper()
        if tags:
            query["filter[tags]"] = parameter(one_or_several(tags), "tag")
        if idempotency_key:
            query["filter[idempotencyKey]"] = idempotency_key
        page = profile.client(environment, data_dir).list_tokens(query)
        if as_json:
            output.show_json(page)
            return
        rows = [
            (each["status"], each["id"], output.minute(each["createdAt"]), " ".join(each["tags"])) for each in page["data"]
        ]
        output.table(("status", "token", "created", "tags"), rows, "no token fits")


def _add_single(tokens: click.Group) -> None:
    @output.command(tokens, "retrieve")
    @click.argument("token")
    @environment_options
    def retrieve(token: str, environment: str, data_dir: str | None, as_json: bool) -> None:
        """One token, and what it was completed with."""
        found = profile.client(environment, data_dir).retrieve_token(token)
        if as_json:
            output.show_json(found)
            return
        click.echo(f"{found['id']}: {found['status']}")
        names = ("createdAt", "timeoutAt", "completedAt", "idempotencyKey", "url", "output")
        for name in names:
            if name in found:
                click.echo(clean(f"{name}: {found[name]}"))

    @output.command(tokens, "complete")
    @click.argument("token")
    @click.option("--data", help="What it is completed with, as JSON; absent: nothing.")
    @environment_options
    def complete(token: str, data: str | None, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Complete a token; one that is complete stays as it is."""
        client, value = profile.client(environment, data_dir), _data(data)
        before = client.retrieve_token(token)
        client.complete_token(token, value)
        found = client.retrieve_token(token)
        if before["status"] != "WAITING":
            said = "what it was completed with stays" if before["status"] == "COMPLETED" else "nothing is changed"
            click.echo(f"sojourn: {found['id']} was {before['status']} already: {said}", err=True)
        output.show_json(found) if as_json else click.echo(f"{found['id']} is {found['status']}")


def _data(text: str | None) -> Any:
    return None if text is None else output.json_of("the data", text)
