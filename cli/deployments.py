"""`deployments …`: the versions of an environment, and which of them new runs start on."""

from __future__ import annotations

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options, here


def add(group: click.Group) -> None:
    """Registers the commands."""

    @group.group()
    def deployments() -> None:
        """Look at deployed versions, and go back to one."""

    @output.command(deployments, "list")
    @click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100))
    @environment_options
    def list_(limit: int, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Versions, newest first."""
        page = profile.client(environment, data_dir).list_deployments({"page[size]": limit})
        if as_json:
            output.show_json(page)
            return
        rows = [
            (
                each["version"],
                "current" if each["isCurrent"] else "",
                each["shortCode"],
                each["runtimeVersion"],
                output.minute(each["deployedAt"]),
            )
            for each in page["data"]
        ]
        output.table(
            ("version", "", "content", "python", "deployed (UTC)"),
            rows,
            here("nothing is deployed: `sojourn deploy DIR`"),
        )

    @output.command(deployments, "promote")
    @click.argument("version")
    @click.option("--rollback", is_flag=True, help="Go back: VERSION may be older than the current one.")
    @environment_options
    def promote(version: str, rollback: bool, environment: str, data_dir: str | None, as_json: bool) -> None:
        """Let new runs start on VERSION."""
        found = profile.client(environment, data_dir).promote_deployment(version, rollback)
        output.show_json(found) if as_json else click.echo(f"{found['version']} is current")
