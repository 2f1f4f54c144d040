"""Which runs are meant, on the command line: the filters of `runs list`, `runs cancel` and `runs replay`."""

from __future__ import annotations

from typing import Any

import click

from sojourn.sdk.protocol import RunStatus
from sojourn.sdk.run_filters import RunFilters

#: As others spell it.
_SPELLED = {"CANCELLED": RunStatus.CANCELED}
_OPTIONS = (
    ("--status", "status", f"Only these statuses, separated by commas: {', '.join(RunStatus).lower()}."),
    ("--task", "task", "Only runs of these tasks, separated by commas."),
    ("--version", "version", "Only runs on these versions, separated by commas."),
    ("--tag", "tag", "Only runs with one of these tags, separated by commas."),
    ("--queue", "queue", "Only runs of these queues, separated by commas; task/<task> is a task's own."),
    ("--machine", "machine", "Only runs on these machines, separated by commas."),
    ("--region", "region", "Only runs of these regions, separated by commas."),
    ("--schedule", "schedule", "Only runs of these schedules, separated by commas."),
    ("--batch", "batch", "Only runs of these batches, separated by commas."),
    ("--bulk-action", "bulk_action", "Only runs that these bulk actions have cancelled or made."),
    ("--error", "error", "Only runs that ended with these errors: their code, name or type."),
    ("--test", "is_test", "true: only test runs; false: no test runs."),
    ("--period", "period", "Only runs of the last so long, like 7d."),
    ("--from", "created_from", "Only runs since this date."),
    ("--to", "created_to", "Only runs until this date."),
)


#: Whose words are the user's: given more than once, each is taken whole, commas and all.
_TEXTS = frozenset({"task", "tag", "queue", "error"})


def filter_options(*without: str) -> Any:
    """The options, but for some."""

    def decorate(function: Any) -> Any:
        for word, name, help_text in reversed(_OPTIONS):
            if word not in without:
                kind = click.Choice(["true", "false"]) if name == "is_test" else None
                function = click.option(word, name, type=kind, help=help_text, multiple=name in _TEXTS)(function)
        return function

    return decorate


def one_or_several(given: Any) -> Any:
    """An option's text, in which commas separate values; of one that was given more than once, the list of its texts."""
    if not isinstance(given, tuple):
        return given
    return list(given) if len(given) > 1 else next(iter(given), None)


def filters_of(given: dict[str, Any]) -> RunFilters:
    """The filters among a command's options."""
    named = {name: one_or_several(given.get(name)) for _, name, _ in _OPTIONS}
    found: Any = {name: value for name, value in named.items() if value is not None}
    if "status" in found:
        words = [word.strip().upper() for word in found["status"].split(",")]
        found["status"] = ",".join(_SPELLED.get(word, word) for word in words)
    if "is_test" in found:
        found["is_test"] = found["is_test"] == "true"
    filters: RunFilters = found
    return filters
