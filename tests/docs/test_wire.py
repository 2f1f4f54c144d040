"""The wire's pages say what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sojourn.control_plane.api.problems import CODES
from sojourn.control_plane.domain.failure import (
    LOOKED_UP,
    LOST,
    NOT_RETRYABLE,
    OUT_OF_MEMORY,
    final_status,
    internal_error,
)
from sojourn.control_plane.engine import errors
from sojourn.sdk.protocol import ErrorCode, ErrorKind

ROOT = Path(__file__).resolve().parents[2]
ERRORS = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def test_the_page_of_the_wire_is_fresh() -> None:
    checked = subprocess.run([sys.executable, str(ROOT / "tools" / "wire_page.py"), "--check"], check=False)
    assert checked.returncode == 0, "run: python tools/wire_page.py"


def row(code: str) -> list[str]:
    """The cells of the row that is about a code."""
    rows = [line for line in ERRORS.splitlines() if line.startswith("|") and f"| `{code}` |" in line]
    assert len(rows) == 1, f"{code} has {len(rows)} rows in docs/errors.md"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


@pytest.mark.parametrize("code", CODES)
def test_every_refusal_is_explained(code: str) -> None:
    status, _, meaning, todo = row(code)
    assert (int(status), meaning, todo) == (CODES[code].status, CODES[code].meaning, CODES[code].todo)


def how_retried(code: ErrorCode) -> str:
    if code in OUT_OF_MEMORY:
        return "on a larger machine"
    if code in NOT_RETRYABLE:
        return "no"
    return "yes" if code in LOOKED_UP | LOST else "if its executor asks"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_of_a_run_is_explained(code: ErrorCode) -> None:
    _, ends_as, retried, meaning, todo = row(code)
    assert (ends_as, retried) == (final_status(internal_error(code, "")), how_retried(code))
    assert meaning and todo


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_of_error_is_explained(kind: ErrorKind) -> None:
    assert row(kind)


def test_the_page_explains_nothing_that_is_not_there() -> None:
    named = set(re.findall(r"^\|(?: \d+ \|)? `([A-Z0-9_]+)` \|", ERRORS, re.MULTILINE))
    assert named == set(CODES) | set(ErrorCode) | set(ErrorKind)


def test_every_error_of_the_engine_has_a_status() -> None:
    kinds: list[type[errors.EngineError]] = [errors.EngineError, *errors.EngineError.__subclasses__()]
    assert {kind.code for kind in kinds} <= set(CODES)
