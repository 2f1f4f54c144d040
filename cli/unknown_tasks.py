"""What is said where nothing that is deployed has a task: that its runs wait, and which task was likely meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from sojourn.cli.environment import here
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ApiError, NotFoundError

#: Names that are shown of an environment's tasks.
_SHOWN = 3


def warnings(client: Client, tasks: Iterable[str]) -> list[str]:
    """A line for each task that the current version does not have; none where that cannot be looked up."""
    try:
        there = [each["id"] for each in client.current_deployment()["tasks"]]
    except NotFoundError:
        return [here("nothing is deployed yet, so that the run waits for a version: `sojourn deploy DIR`")]
    except ApiError:
        return []
    return [_unknown(task, there) for task in sorted(set(tasks) - set(there))]


def _unknown(task: str, there: list[str]) -> str:
    meant = get_close_matches(task, there, n=_SHOWN)
    known = f"did you mean {' or '.join(meant)}?" if meant else "`sojourn tasks list` shows those there are."
    return (
        f"the current version has no task {task}: {here(known)} Its runs wait until a version has it, or their ttl is over"
    )
