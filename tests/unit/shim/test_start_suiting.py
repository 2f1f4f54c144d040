"""Which variables a run may have whose process was imported without any."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn.executor_shim.starts.suiting import names_of, suits


@pytest.mark.parametrize(
    ("variables", "looked", "expected"),
    [
        ([], [], True),
        ([], None, True),
        ([], ["A"], True),
        (["A"], [], True),
        (["A"], ["B", "AA", "a"], True),
        (["A", "B"], ["B"], False),
        (["A"], None, False),
        (["OMP_NUM_THREADS"], [], False),
        (["A", "TZ"], [], False),
        (["LC_ALL"], [], False),
        (["PYTHONHASHSEED"], [], False),
        (["GOMAXPROCS"], [], False),
        (["COMP_LEVEL", "TZ_OF_USERS", "omp_num_threads", "LANGUAGES"], [], True),
        ([], ["SOJOURN_SECRET_KEY"], False),  # told to each process with its run
        (["A"], ["SOJOURN_API_URL"], False),
    ],
)
def test_only_what_was_not_looked_up_may_come_later(variables: list[str], looked: list[str] | None, expected: bool) -> None:
    assert suits(dict.fromkeys(variables, "value"), looked) is expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], []),
        (["A", "B"], ["A", "B"]),
        (["A" * 255], ["A" * 255]),
        (None, None),
        ("A", None),
        ({"A": 1}, None),
        (["A", 1], None),
        (["A" * 256], None),
        (["A"] * 4_097, None),
    ],
)
def test_what_a_process_tells_is_not_trusted(told: Any, expected: list[str] | None) -> None:
    assert names_of(told) == expected
