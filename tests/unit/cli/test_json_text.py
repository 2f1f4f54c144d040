"""JSON on the command line: what comes out is the value, whatever is in it and wherever it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from sojourn.cli.json_text import shown

VALUES = ["\ud800", "a\ud83d", "🙂", "é\u202e\x1b[2J\x7f", {"\ud800": ["\n", "ä", None, 1.5]}, "\u2028\u00a0"]


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("indent", [None, 2])
def test_it_is_read_again_as_what_it_was(value: Any, indent: int | None) -> None:
    text = shown(value, indent)
    assert json.loads(text) == value
    assert all(char == "\n" or char.isprintable() for char in text)
    assert text.encode()


def test_letters_stay_letters() -> None:
    assert shown({"a": "é 🙂"}) == '{"a": "é 🙂"}'


PROGRAM = """
import click
from sojourn.cli import output
@click.group()
def main(): pass
@output.command(main, "show")
def show(as_json): output.show_json({"a": "\\ud800 \\U0001f642"}); click.echo("\\ud800 \\U0001f642")
main()
"""


def program(encoding: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "show"],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_output_that_cannot_be_encoded_is_escaped(encoding: str) -> None:
    done = program(encoding)
    assert (done.returncode, done.stderr) == (0, "")
    document, _, rest = done.stdout.rpartition("}\n")
    assert json.loads(f"{document}}}") == {"a": "\ud800 \U0001f642"}
    if encoding != "ascii":  # click takes that for a mistake, and writes UTF-8 with question marks
        assert rest.startswith("\\ud800")


def test_a_full_disk_is_a_line_and_no_traceback() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = program("utf-8", full)
    finally:
        os.close(full)
    assert done.returncode == 2
    assert done.stderr.startswith("sojourn: ") and "No space left" in done.stderr and len(done.stderr.splitlines()) == 1
