"""What `import sojourn` shows, and what it does not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sojourn

#: Each costs milliseconds that every start of a user's process would pay.
HEAVY = (
    "asyncio",
    "http.client",
    "dataclasses",
    "inspect",
    "json",
    "logging",
    "typing",
    "traceback",
    "random",
    "ctypes",
)


def test_all_is_sorted_and_equal_to_what_is_visible() -> None:
    assert sojourn.__all__ == sorted(sojourn.__all__)
    assert dir(sojourn) == sojourn.__all__


def test_type_checkers_see_the_same_names() -> None:
    source = ast.parse(Path(sojourn.__file__).read_text(encoding="utf-8"))
    guarded = next(node for node in source.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom) and node.module != "typing"]
    assert sorted(alias.name for node in imports for alias in node.names) == sojourn.__all__


@pytest.mark.parametrize("name", sojourn.__all__)
def test_every_name_can_be_had(name: str) -> None:
    assert getattr(sojourn, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = sojourn.nope


def loaded_by(code: str) -> set[str]:
    script = f"import sys; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(told.stdout.split())


def test_a_task_costs_none_of_the_heavy_modules() -> None:
    loaded = loaded_by("from sojourn import Queue, Retry, context, logger, task, tasks; task(id='x')(lambda payload: 1)")
    assert "sojourn.sdk.tasks" in loaded
    assert not loaded & set(HEAVY)


def test_an_attempt_loads_what_it_needs_and_no_more() -> None:
    loaded = loaded_by("import sojourn.sdk.attempt")
    assert not loaded & set(HEAVY) - {"json"}
