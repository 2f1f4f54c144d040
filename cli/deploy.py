"""`deploy`: collect a project, index it in a process of its own, register a version, make it current."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.environment import environment_options
from sojourn.cli.output import USAGE, fail
from sojourn.sdk import archive
from sojourn.sdk.client import Client
from sojourn.sdk.errors import NotFoundError, PermissionDeniedError
from sojourn.sdk.manifest import to_pack

_INDEX_SECONDS = 120


def add(group: click.Group) -> None:
    """Registers the command."""

    @output.command(group, "deploy")
    @click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
    @click.option("--image", help="The container image that it runs in, where executors run by docker.")
    @click.option("--external-id", help="A name for the version, such as a commit, which triggers may ask for.")
    @environment_options
    def deploy(
        directory: Path,
        environment: str,
        image: str | None,
        external_id: str | None,
        data_dir: str | None,
        as_json: bool,
    ) -> None:
        """Deploy the tasks of DIRECTORY: every function marked @task in its Python files.

        They take the place of all that was deployed to the environment before.
        """
        client = profile.client(environment, data_dir)
        manifest = _index(directory)
        try:
            packed, content_hash = archive.pack(directory, to_pack(manifest))
        except archive.ArchiveError as error:
            fail(f"{directory} cannot be packed: {error}", USAGE)
        before = _tasks_of(client)
        made = client.deploy(manifest, content_hash, base64.b64encode(packed).decode(), image, external_id)
        gone = sorted(before - set(made["tasks"]))
        if as_json:
            output.show_json({**made, "removedTasks": gone})
            return
        environment = profile.name_of(client, environment)
        word = "is current already" if made["isCached"] else "is now current"
        click.echo(f"version {made['version']} {word} in {environment} ({len(packed) / 1024:.0f} KB)")
        rows = [
            (t["id"], t["file"], t["machine"], (t["queue"] or {}).get("name") or f"task/{t['id']}")
            for t in manifest["tasks"]
        ]
        output.table(("task", "file", "machine", "queue"), rows)
        if gone:
            click.echo(
                output.clean(f"no longer there: {', '.join(gone)}; their new runs wait until they are deployed again")
            )


def _tasks_of(client: Client) -> set[str]:
    """The tasks of the version that is current until now."""
    try:
        return {each["id"] for each in client.current_deployment()["tasks"]}
    except (NotFoundError, PermissionDeniedError):
        return set()


def _index(directory: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "manifest.json"
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "sojourn.sdk.index", str(directory), str(target)],
                stdout=sys.stderr,
                stderr=subprocess.PIPE,
                text=True,
                timeout=_INDEX_SECONDS,
            )
        except subprocess.TimeoutExpired:
            fail(f"importing {directory} took more than {_INDEX_SECONDS} s: does a module do work when imported?", USAGE)
        if done.returncode or not target.exists():
            fail(f"{directory} cannot be imported:\n{output.clean(done.stderr.strip())}", USAGE)
        manifest: dict[str, Any] = json.loads(target.read_text())
    if not manifest["tasks"]:
        fail(f"no task was found in {directory}: mark a function with @task", USAGE)
    return manifest
