"""Every filter of runs is to be had wherever there are lists of them: API, SDK, command line, dashboard, guide."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest

from sojourn.cli.main import main
from sojourn.control_plane.api.models.runs import RunsQuery
from sojourn.control_plane.api.runs import filters_of
from sojourn.control_plane.store.run_lists import RunFilters, conditions
from sojourn.sdk import run_filters as of_sdk
from sojourn.web import run_filters as of_page

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "runs.md"

#: On the wire, in the SDK, on the command line, on the page, and a value.
FILTERS = (
    ("status", "status", "--status", "status", "FAILED"),
    ("taskIdentifier", "task", "--task", "task", "import-file"),
    ("version", "version", "--version", "version", "20260131.2"),
    ("tag", "tag", "--tag", "tag", "customer-7"),
    ("queue", "queue", "--queue", "queue", "task/hello"),
    ("machine", "machine", "--machine", "machine", "micro"),
    ("region", "region", "--region", "region", "eu"),
    ("schedule", "schedule", "--schedule", "schedule", "sched_1"),
    ("batch", "batch", "--batch", "batch", "batch_1"),
    ("bulkAction", "bulk_action", "--bulk-action", "bulk_action", "bulk_1"),
    ("error", "error", "--error", "error", "ValueError"),
    ("isTest", "is_test", "--test", "test", "true"),
    ("createdAt][period", "period", "--period", "period", "7d"),
    ("createdAt][from", "created_from", "--from", "from", "2026-01-31"),
    ("createdAt][to", "created_to", "--to", "to", "2026-02-01T12:00:00Z"),
)
#: For hooks alone, which are asked for over the wire.
ELSEWHERE = {"filter[hooks]"}
WIRE, SDK, WORDS, FIELDS = ({row[n] for row in FILTERS} for n in range(4))


def test_no_filter_is_missing_anywhere() -> None:
    aliases = {str(field.alias) for field in RunsQuery.model_fields.values()}
    assert {alias for alias in aliases if alias.startswith("filter[")} - ELSEWHERE == {f"filter[{name}]" for name in WIRE}
    assert set(of_sdk.RunFilters.__annotations__) == SDK
    for name in ("list", "cancel", "replay"):
        assert set(options_of("runs", name)) >= WORDS - ({"--error"} if name == "cancel" else set()), name
    assert {field.name for field in (*of_page.FIRST, *of_page.MORE)} == FIELDS


@pytest.mark.parametrize(("wire", "sdk", "word", "field", "value"), FILTERS, ids=lambda text: text)
def test_each_means_the_same_everywhere(wire: str, sdk: str, word: str, field: str, value: str) -> None:
    given: Any = {sdk: value == "true" if sdk == "is_test" else value}
    assert of_sdk.query_of(given) == {f"filter[{wire}]": value}
    asked = filters_of(RunsQuery.model_validate({f"filter[{wire}]": value}), NOW)
    shown = of_page.chosen(lambda name: value if name == field else "", NOW)
    assert shown.texts == {field: value}
    assert shown.filters.document() == asked.document()
    assert conditions("env_1", shown.filters) != conditions("env_1", RunFilters())
    guide = GUIDE.read_text()
    assert all(f"`{each}" in guide for each in (wire, sdk, word))


def options_of(*names: str) -> list[str]:
    command: Any = main
    for name in names:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return [word for parameter in command.params for word in parameter.opts]
