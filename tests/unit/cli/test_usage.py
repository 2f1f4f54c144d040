"""What the command line says of wrong usage, and its help."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from sojourn.cli import stack
from sojourn.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("runs list --limit 900", "Invalid value for '--limit': 900 is not in the range 1<=x<=100"),
        ("frobnicate", "No such command 'frobnicate'"),
        ("trigger", "Missing argument 'TASK'"),
        ("queues rate q --burst x", "'x' is not a valid integer"),
        ("deploy /nowhere/at/all", "does not exist"),
    ],
)
def test_wrong_usage_is_one_line(words: str, said: str) -> None:
    done = CliRunner().invoke(main, words.split())
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1 and done.output.startswith("sojourn: ")
    assert said in done.output and "--help`" in done.output


@pytest.mark.parametrize("command", ["cancel", "replay"])
@pytest.mark.parametrize("words", ["--all --task x", "run_1 --all", "run_1 run_2 --tag y", "run_1 --all --tag y"])
def test_runs_are_named_filtered_or_all(command: str, words: str) -> None:
    done = CliRunner().invoke(main, ["runs", command, *words.split(), "--yes"])
    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1 and "name runs, or give filters, or --all" in done.output


@pytest.mark.parametrize("words", ["", "runs"])
def test_a_group_alone_shows_its_commands(words: str) -> None:
    assert "Commands:" in CliRunner().invoke(main, words.split()).output


@pytest.mark.parametrize("words", ["-h", "--version", "runs get --help"])
def test_what_only_tells_is_no_failure(words: str) -> None:
    assert CliRunner().invoke(main, words.split()).exit_code == 0


@pytest.mark.parametrize("group", ["", *(name for name, each in main.commands.items() if hasattr(each, "commands"))])
def test_no_sentence_of_the_help_is_cut(group: str) -> None:
    assert "..." not in CliRunner().invoke(main, [*group.split(), "--help"]).output.split("Commands:")[1]


def test_a_moved_directory_is_told_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"api_url": "http://here", "dashboard_url": "http://here/", "environments": {}}
    stack._welcome({**found, "moved": {"from": "/old/place", "frozen_runs": 2}}, True)
    assert "runs that were frozen in /old/place begin anew (2 are frozen)" in capsys.readouterr().err
    stack._welcome(found, True)
    assert capsys.readouterr().err == ""
