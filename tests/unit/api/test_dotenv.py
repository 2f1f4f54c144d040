"""Dotenv files as anybody may send them: read or refused, without an error of the reader's own, and never for long."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sojourn.control_plane.api import variables
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.variables import MAX_BLANKS, MAX_LINES, dotenv

_PIECES = st.sampled_from(
    ["A", "B_1", "=", " = ", "'", '"', "\\", "\n", "\r\n", "#", " # ", "export ", " ", "\t", "$A", "${A}", "é", "\x00",
     "\u2028", "x" * 50, "\\'", '\\"', "\\u0041", "\ufeff", ":", ";", "`"]
)  # fmt: skip
_FILES = st.lists(_PIECES, max_size=60).map("".join) | st.text(max_size=200)
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
_VALUES = st.text(st.characters(exclude_characters="'\\\r\x00", exclude_categories=["Cs"]), max_size=100)


@settings(max_examples=500)
@given(_FILES)
def test_any_text_is_a_file(text: str) -> None:
    found, skipped = dotenv(text)
    assert sorted(set(skipped)) == skipped and all(1 <= line <= len(text) for line in skipped)
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in found.items())
    assert all(value.count("$A") <= text.count("$A") for value in found.values()), "nothing is put in"


@given(st.dictionaries(_NAMES, _VALUES, max_size=10))
def test_what_is_quoted_is_read_as_it_is(given: dict[str, str]) -> None:
    found = dotenv("\n".join(f"{name}='{value}'" for name, value in given.items()))
    assert found == (given, [])


def test_as_much_as_there_may_be() -> None:
    lines = ["A=" + " " * MAX_BLANKS + "x"] + ["B='x'"] * (MAX_LINES - 1)
    assert dotenv("\n".join(lines)) == ({"A": "x", "B": "x"}, [])


def test_lines_that_hold_no_variable_are_numbered() -> None:
    text = '\n\nA=1\n\nfoo\r\n# c\n\n=x\nB: y\nC="a\nb"\n\n\nexport\nbad key=1\n  \nA\n'
    assert dotenv(text) == ({"A": "1", "C": "a\nb"}, [5, 8, 9, 14, 15, 17])


@pytest.mark.parametrize("blank", [" ", "\t", "\x0b", "\u3000", " \t"])
@pytest.mark.parametrize("before", ["A=a", "A='", "#", ""])
def test_what_would_be_read_for_seconds_is_refused(blank: str, before: str) -> None:
    """A value that is not quoted is searched for a comment: 200,000 blanks in it took the reader 40 seconds."""
    with pytest.raises(Problem, match="blanks") as refused:
        dotenv(before + (blank * 200_000)[:200_000] + "b\n")
    assert (refused.value.code, refused.value.field) == ("BODY_INVALID", "variables")


@pytest.mark.parametrize("line", ["A=1\n", "=\n", "#\r", "\r\n"])
def test_more_lines_than_anybody_has_are_refused(line: str) -> None:
    with pytest.raises(Problem, match="lines"):
        dotenv(line * (variables.IMPORT_LIMIT // len(line)))
