"""The page of the command line has every command, option and exit code, and none that does not exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sojourn.cli import output
from sojourn.cli.main import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command of the tree that does something, by what one types."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(main, "sojourn"))


def section(name: str) -> str:
    """What the page says about a command."""
    found = re.search(rf"^### `{name}`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section {name}"
    return found[1]


def examples(text: str) -> list[list[str]]:
    """The lines to type, in words; what is piped on is not ours."""
    blocks = re.findall(r"```shell\n(.*?)```", text, re.DOTALL)
    lines = [line.split(" | ")[0] for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def test_every_command_is_on_the_page_and_no_other() -> None:
    assert sorted(re.findall(r"^### `(.+)`$", PAGE, re.MULTILINE)) == sorted(COMMANDS)


def listed() -> dict[str, list[str]]:
    """The commands that the list of contents names, by their section: a group's name stands before its first one."""
    found: dict[str, list[str]] = {}
    groups = [name for name, command in main.commands.items() if isinstance(command, click.Group)]
    for title, rest in re.findall(r"^- \[([^\]]+)\]\(#[^)]*\)(.*(?:\n  .*)*)", PAGE.partition("\n## ")[0], re.MULTILINE):
        group = ""
        for words in re.findall(r"`([^`]+)`", rest):
            first = words.split()[0]
            group = f"{first} " if first in groups and " " in words else "" if words in main.commands else group
            found.setdefault(title, []).append(words if " " in words else f"{group}{words}")
    return found


def test_the_list_of_contents_names_every_command_in_its_place() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    there = {each.splitlines()[0]: re.findall(r"^### `sojourn (.+)`$", each, re.MULTILINE) for each in sections}
    assert {title: sorted(names) for title, names in listed().items()} == {
        title: sorted(names) for title, names in there.items() if names
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_and_no_other(name: str) -> None:
    first_cells = re.findall(r"^\| (`-.*?) \|", section(name), re.MULTILINE)
    explained = re.findall(r"`(--[a-z-]+)", " ".join(first_cells))
    options = [parameter for parameter in COMMANDS[name].params if isinstance(parameter, click.Option)]
    assert sorted(explained) == sorted(word for option in options for word in option.opts)


def test_no_option_is_mentioned_that_does_not_exist() -> None:
    known = {word for command in COMMANDS.values() for parameter in command.params for word in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", PAGE)) <= known | {"--help", "--version"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_it_takes(name: str) -> None:
    found = examples(section(name))
    assert found
    for words in found:
        typed = name.split()
        assert words[: len(typed)] == typed
        # Refuses what it does not know; files need not exist.
        COMMANDS[name].make_context(name, words[len(typed) :], resilient_parsing=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_exit_codes(name: str) -> None:
    told = section(name).partition("Exit codes: ")[2].partition("\n\n")[0]
    codes = {int(part.split()[0].rstrip(".")) for part in told.split(" · ")}
    assert output.OK in codes
    assert codes <= CODES


CODES = {output.OK, output.FAILED, output.USAGE, output.REFUSED, output.NOT_FOUND, output.INTERRUPTED}


def test_every_exit_code_is_in_the_table_and_no_other() -> None:
    table = PAGE.partition("## Exit codes\n")[2]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == CODES
