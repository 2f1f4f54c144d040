"""B16: no secret is compared by `==`, which takes longer the more of it is right. `hmac.compare_digest` does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.sources import sources

_SECRET = re.compile(
    r"secret|token|signature|signed|_sign\b|hmac|digest|password|passphrase|credential|hashed|whsec", re.IGNORECASE
)
_BY_EQUALITY = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
#: What sounds like a secret and is none.
HARMLESS = {
    "self._registered.get(job) != digest": "the digest of a job's document",
    "self._spent.made(token.hash) != thing": "what a token has made, under the hash of one that was verified",
    "_AT_ONCE in (lines, executors, keys, tokens, messages)": "counts",
}


def compared(source: str) -> Iterator[str]:
    """Comparisons by equality of anything whose name sounds like a secret with anything but a literal."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare) or not any(isinstance(op, _BY_EQUALITY) for op in node.ops):
            continue
        sides = [node.left, *node.comparators]
        if not any(isinstance(side, ast.Constant) for side in sides) and any(map(_SECRET.search, map(_names, sides))):
            yield ast.unparse(node)


def _names(side: ast.expr) -> str:
    """The names in an expression."""
    found = (getattr(node, "id", None) or getattr(node, "attr", None) for node in ast.walk(side))
    return " ".join(name for name in found if isinstance(name, str))


@pytest.mark.parametrize(
    "source",
    [
        "given == self._sign(body)",
        "signature != right",
        "hashed(text) in known",
        "if row.secret == shown: pass",
        "a == token[3:]",
    ],
)
def test_such_a_comparison_is_found(source: str) -> None:
    assert list(compared(source))


@pytest.mark.parametrize("source", ["hmac.compare_digest(signature, right)", "kind == 'token'", "len(secret) == 3"])
def test_others_are_not(source: str) -> None:
    assert not list(compared(source))


def test_b16_no_secret_is_compared_by_equality() -> None:
    found = {}
    for path in sources():
        found |= dict.fromkeys(compared(path.read_text()), path.name)
    assert {each: name for each, name in found.items() if each not in HARMLESS} == {}
    assert set(HARMLESS) <= set(found), "what is not there any more goes from the list"
