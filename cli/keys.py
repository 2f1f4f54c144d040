"""`keys …`: an environment's secret keys and public tokens, by the API, or on the database by who runs the stack."""

from __future__ import annotations

from typing import Any

import click

from sojourn.cli import output, profile, server
from sojourn.cli.environment import asked, environment_options
from sojourn.cli.output import USAGE, clean, fail


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def keys() -> None:
        """List, make, replace and revoke the secret keys of an environment, and make public tokens."""

    _add_list(keys)
    _add_create(keys)
    _add_rotate(keys)
    _add_revoke(keys)
    _add_token(keys)


def _options(function: Any) -> Any:
    direct = click.option("--direct", is_flag=True, help="On the stack's database: for whoever has no key that may.")
    return environment_options(direct(function))


def _add_list(keys: click.Group) -> None:
    @output.command(keys, "list")
    @_options
    def list_(direct: bool, environment: str, data_dir: str | None, as_json: bool) -> None:
        """The keys that open, and those that ended within 30 days."""
        if direct:
            found = _ask("list", environment, data_dir)
        else:
            found = profile.client(environment, data_dir).list_keys()
        if as_json:
            output.show_json(found)
            return
        rows = [
            (
                each["id"],
                each["status"].lower(),
                "root" if each["isRoot"] else each.get("name", ""),
                each["hint"],
                "everything" if "scopes" not in each else " ".join(each["scopes"]),
                output.minute(each.get("lastUsedAt")),
                output.minute(each.get("revokedAt") or each.get("expiresAt")),
            )
            for each in found["data"]
        ]
        output.table(("key", "", "name", "hint", "may", "last used (UTC)", "ends"), rows)


def _add_create(keys: click.Group) -> None:
    @output.command(keys, "create")
    @click.option("--name", help="A name, for people.")
    @click.option("--scope", multiple=True, help="What it may do, as in read:runs; may be given again. Absent: everything.")
    @click.option("--expires", help="When it ends: a duration like 90d, or an ISO date.")
    @_options
    def create(
        name: str | None,
        scope: tuple[str, ...],
        expires: str | None,
        direct: bool,
        environment: str,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """A new key, which is shown this once."""
        if direct:
            options = [*_option("--name", name), *_option("--expires", expires)]
            options += [f"--scope={each}" for each in scope]
            made = _ask("create", environment, data_dir, *options)
        else:
            given = {"name": name, "scopes": list(scope) or None, "expires": expires}
            wanted = {key: value for key, value in given.items() if value is not None}
            made = profile.client(environment, data_dir).create_key(wanted)
        _show(made, as_json)


def _add_rotate(keys: click.Group) -> None:
    @output.command(keys, "rotate")
    @click.argument("key", required=False)
    @click.option("--grace", help="How long the old key opens: a duration, 24h unless given; 0s ends it at once.")
    @_options
    def rotate(
        key: str | None, grace: str | None, direct: bool, environment: str, data_dir: str | None, as_json: bool
    ) -> None:
        """A key in place of another, or of the root key; it is shown this once. The old one opens a while longer."""
        if direct:
            made = _ask("rotate", environment, data_dir, *_option("--key", key), *_option("--grace", grace))
        else:
            client = profile.client(environment, data_dir)
            made = client.rotate_key(key or _root(client.list_keys()["data"]), grace)
        if made["isRoot"] and profile.remember(environment, made["key"], data_dir) and not as_json:
            click.echo("credentials.json of the data directory has it", err=True)
        _show(made, as_json)


def _add_revoke(keys: click.Group) -> None:
    @output.command(keys, "revoke")
    @click.argument("key")
    @_options
    def revoke(key: str, direct: bool, environment: str, data_dir: str | None, as_json: bool) -> None:
        """End a key at once. The root key is rotated instead."""
        if direct:
            gone = _ask("revoke", environment, data_dir, f"--key={key}")
        else:
            gone = profile.client(environment, data_dir).revoke_key(key)
        output.show_json(gone) if as_json else click.echo(f"{gone['id']} is revoked")


def _add_token(keys: click.Group) -> None:
    @output.command(keys, "token")
    @click.option("--scope", multiple=True, required=True, help="What it may do, as in read:runs; may be given again.")
    @click.option("--expires", help="When it ends: a duration like 1h, or an ISO date; absent: in 15 minutes.")
    @click.option("--once", is_flag=True, help="It works for one request.")
    @environment_options
    def token(
        scope: tuple[str, ...], expires: str | None, once: bool, environment: str, data_dir: str | None, as_json: bool
    ) -> None:
        """A public token, which lets a browser, or anybody, do a little and for a while."""
        wanted: dict[str, Any] = {"scopes": list(scope)}
        if expires is not None:
            wanted["expirationTime"] = expires
        if once:
            wanted["oneTimeUse"] = True
        made = profile.client(environment, data_dir).create_public_token(wanted)
        output.show_json(made) if as_json else click.echo(made["token"])


def _ask(what: str, environment: str, data_dir: str | None, *options: str) -> dict[str, Any]:
    if asked().project is not None:
        fail("--direct finds an environment by its slug or its id in --env: leave --project out", USAGE)
    return server.ask("keys", profile.data_dir(data_dir), "--do", what, f"--environment={environment}", *options)


def _option(name: str, value: str | None) -> tuple[str, ...]:
    return () if value is None else (f"{name}={value}",)


def _root(found: list[dict[str, Any]]) -> str:
    return str(next(each["id"] for each in found if each["isRoot"] and each["status"] == "ACTIVE"))


def _show(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.show_json(made)
        return
    click.echo(made["key"])
    may = " ".join(made["scopes"]) if "scopes" in made else "everything"
    ends = f", ends {made['expiresAt']}" if "expiresAt" in made else ""
    click.echo(clean(f"{made['id']} may do {may}{ends}; the key is not shown again"), err=True)
