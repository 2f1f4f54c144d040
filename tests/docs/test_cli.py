"""The command line's page has every command, option and exit code, and none that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sojourn.cli import output
from sojourn.cli.main import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
EVERYWHERE = {"--json", "--data-dir", "--env", "--help"}


def commands(command: click.Command, name: str = "sojourn") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name."""
    if isinstance(command, click.Group):
        for part, below in command.commands.items():
            yield from commands(below, f"{name} {part}")
    else:
        yield name, command


COMMANDS = dict(commands(main))


def section(heading: str) -> str:
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading!r}"
    return found[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_told_with_its_options(name: str):
    has = {option for parameter in COMMANDS[name].params for option in parameter.opts if option.startswith("--")}
    told = set(re.findall(r"--[a-z][a-z-]+", section(name)))
    assert has - EVERYWHERE <= told, "options that are not told"
    assert told <= has, "options that do not exist"


def test_no_command_is_told_that_does_not_exist():
    assert set(re.findall(r"^### (sojourn .*)$", PAGE, re.MULTILINE)) == set(COMMANDS)


def test_what_holds_everywhere_is_told_once():
    assert set(re.findall(r"--[a-z][a-z-]+", section("Everywhere"))) == EVERYWHERE - {"--help"}


def test_every_exit_code_is_told():
    codes = {output.OK, output.FAILED, output.USAGE, output.REFUSED, output.NOT_FOUND, output.INTERRUPTED}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)} == codes
