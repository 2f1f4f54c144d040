"""`access-tokens …`: tokens of people and of organizations, on the stack's database by who runs it."""

from __future__ import annotations

from typing import Any

import click

from sojourn.cli import output, profile, server
from sojourn.cli.output import clean


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group("access-tokens")
    def access_tokens() -> None:
        """List, make and revoke tokens of people and of organizations, on the database of the stack on this machine."""

    _add_list(access_tokens)
    _add_create(access_tokens)
    _add_revoke(access_tokens)


def _options(function: Any) -> Any:
    function = click.option("--data-dir", help="The stack to talk to, if it is not the default one.")(function)
    return click.option("--organization", default="default", show_default=True, help="The organization's slug.")(function)


def _add_list(access_tokens: click.Group) -> None:
    @output.command(access_tokens, "list")
    @_options
    def list_(organization: str, data_dir: str | None, as_json: bool) -> None:
        """An organization's tokens, newest first."""
        found = _ask("list", organization, data_dir)
        if as_json:
            output.show_json(found)
            return
        rows = [
            (
                each["id"],
                each["hint"],
                each["kind"],
                each.get("name", ""),
                output.minute(each.get("lastUsedAt")),
                output.minute(each.get("revokedAt") or each.get("expiresAt")),
            )
            for each in found["data"]
        ]
        output.table(("token", "hint", "kind", "name", "last used (UTC)", "ends"), rows, "no token")


def _add_create(access_tokens: click.Group) -> None:
    @output.command(access_tokens, "create")
    @click.option(
        "--kind",
        type=click.Choice(["personal", "organization"]),
        default="personal",
        show_default=True,
        help="Whose it is: a person's, or an organization's, as for CI.",
    )
    @click.option("--name", help="A name, for people.")
    @click.option("--expires", help="When it ends: a duration like 90d, or an ISO date.")
    @_options
    def create(
        kind: str, name: str | None, expires: str | None, organization: str, data_dir: str | None, as_json: bool
    ) -> None:
        """A new token, which is shown this once."""
        given = {"--kind": kind, "--name": name, "--expires": expires}
        options = [f"{option}={value}" for option, value in given.items() if value is not None]
        made = _ask("create", organization, data_dir, *options)
        if as_json:
            output.show_json(made)
            return
        click.echo(made["token"])
        click.echo(clean(f"{made['id']}; the token is not shown again"), err=True)


def _add_revoke(access_tokens: click.Group) -> None:
    @output.command(access_tokens, "revoke")
    @click.argument("token")
    @_options
    def revoke(token: str, organization: str, data_dir: str | None, as_json: bool) -> None:
        """End a token at once."""
        gone = _ask("revoke", organization, data_dir, f"--token={token}")
        output.show_json(gone) if as_json else click.echo(f"{gone['id']} is revoked")


def _ask(what: str, organization: str, data_dir: str | None, *options: str) -> dict[str, Any]:
    return server.ask("tokens", profile.data_dir(data_dir), "--do", what, f"--organization={organization}", *options)
