"""What a statement takes "at most" is looked for once: `= ANY(ARRAY(SELECT … LIMIT n))`, and not `IN (SELECT … LIMIT n)`.

PostgreSQL may plan the latter as a join that asks the subquery again for every row of the table. With `FOR UPDATE SKIP
LOCKED` each time skips what was changed already and finds others, so that more than n are changed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.sources import sources


def texts(source: str) -> Iterator[str]:
    """Every text in some Python code, with those that stand one after the other as one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "?" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def limited(text: str) -> Iterator[str]:
    """The subqueries with a limit of their own in a statement that are asked by IN."""
    for found in re.finditer(r"\bIN\s*\((?=\s*SELECT\b)", text, re.IGNORECASE):
        depth, end = 1, found.end()
        while depth and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        if re.search(r"\bLIMIT\b", text[found.end() : end], re.IGNORECASE):
            yield text[found.start() : end]


@pytest.mark.parametrize(
    "source",
    [
        "'DELETE FROM t WHERE id IN (SELECT id FROM t' ' ORDER BY (a) LIMIT %s) RETURNING id'",
        "f'UPDATE t SET x = 1 WHERE id IN ( SELECT id FROM {table} LIMIT %s FOR UPDATE SKIP LOCKED)'",
    ],
)
def test_such_a_statement_is_found(source: str) -> None:
    assert [each for text in texts(source) for each in limited(text)]


@pytest.mark.parametrize(
    "source",
    [
        "'DELETE FROM t WHERE id = ANY(ARRAY(SELECT id FROM t LIMIT %s))'",
        "'SELECT id FROM t WHERE a IN (SELECT a FROM u) LIMIT %s'",
    ],
)
def test_others_are_not(source: str) -> None:
    assert not [each for text in texts(source) for each in limited(text)]


def test_no_statement_asks_for_what_it_takes_more_than_once() -> None:
    code = [(path, text) for path in sources() for text in texts(path.read_text())]
    code += [(path, path.read_text()) for path in sources(".sql")]
    assert any("LIMIT" in text for _, text in code)
    assert [f"{path}: {each}" for path, text in code for each in limited(text)] == []
