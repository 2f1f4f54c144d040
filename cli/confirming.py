"""Asking before much is changed at once: how many runs, and of which environment. `--yes` is the answer of scripts."""

from __future__ import annotations

import sys
from typing import Any

import click

from sojourn.cli import output, profile
from sojourn.cli.output import USAGE, fail
from sojourn.cli.run_pages import MOST, SIZE, pages
from sojourn.sdk.client import Client
from sojourn.sdk.errors import PermissionDeniedError
from sojourn.sdk.protocol import FINAL_STATUSES, RunStatus
from sojourn.sdk.run_filters import RunFilters, query_of

_NOT_OVER = tuple(status.value for status in RunStatus if status not in FINAL_STATUSES)


def yes_option(function: Any) -> Any:
    """`--yes`."""
    return click.option("--yes", is_flag=True, help="Of runs that are not named: do not ask before.")(function)


def require_answer(yes: bool) -> None:
    """Ends the command where nobody can be asked, before anything is done."""
    if not yes and not _is_terminal():
        fail("many runs at once are acted on after a question, and this is no terminal: add --yes", USAGE)


def confirm_cancel(client: Client, environment: str, filters: RunFilters) -> None:
    """Asks; ends the command unless the answer is yes."""
    live: RunFilters = filters if "status" in filters else {**filters, "status": _NOT_OVER}
    _ask(f"cancel {_counted(client, live)} of {profile.name_of(client, environment)}, and all runs below")


def confirm_replay(client: Client, environment: str, filters: RunFilters) -> None:
    """Asks; ends the command unless the answer is yes."""
    _ask(f"replay {_counted(client, filters)} of {profile.name_of(client, environment)}, each as a new run")


def _ask(what: str) -> None:
    if not click.confirm(output.clean(f"{what}?"), err=True):
        fail("nothing was done", USAGE)


def _counted(client: Client, filters: RunFilters) -> str:
    try:
        read = list(pages(client, query_of(filters), MOST * SIZE))
    except PermissionDeniedError:
        return "runs (the key may not count them)"
    count = sum(len(page["data"]) for page in read)
    if read[-1]["pagination"].get("next") is None:
        return "1 run" if count == 1 else f"{count} runs"
    return f"more than {count} runs" if count else "runs (how many is not known soon)"


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
