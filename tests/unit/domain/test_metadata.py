"""Operations on metadata: what each makes of what was there, and what does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from sojourn.control_plane.domain.metadata import BadOperation, Operation, applied, path

HELD: dict[str, Any] = {"n": 1, "list": [1, True, {"a": 1}], "deep": {"rows": [{"done": 1}]}, "$x": 0}


@pytest.mark.parametrize(
    ("operation", "changed"),
    [
        (Operation("set", "n", [1]), {"n": [1]}),
        (Operation("set", "$.deep.rows[0].done", 2), {"deep": {"rows": [{"done": 2}]}}),
        (Operation("set", "$.deep.rows[1]", 2), {"deep": {"rows": [{"done": 1}, 2]}}),
        (Operation("set", "$.made.on.the.way", 1), {"made": {"on": {"the": {"way": 1}}}}),
        (Operation("set", "a.b", 1), {"a.b": 1}),
        (Operation("delete", "$x"), {"$x": None}),
        (Operation("delete", "nowhere"), {}),
        (Operation("delete", "$.no.where"), {}),
        (Operation("delete", "$.deep.rows[0]"), {"deep": {"rows": []}}),
        (Operation("append", "list", 2), {"list": [1, True, {"a": 1}, 2]}),
        (Operation("append", "n", 2), {"n": [1, 2]}),
        (Operation("append", "new", 2), {"new": [2]}),
        (Operation("remove", "list", 1), {"list": [True, {"a": 1}]}),
        (Operation("remove", "list", {"a": 1}), {"list": [1, True]}),
        (Operation("remove", "new", 1), {"new": []}),
        (Operation("increment", "n", 1.5), {"n": 2.5}),
        (Operation("increment", "new", -1), {"new": -1}),
    ],
)
def test_what_an_operation_makes(operation: Operation, changed: dict[str, Any]) -> None:
    expected = HELD | changed
    if operation == Operation("delete", "$x"):
        del expected["$x"]
    assert applied(HELD, [operation]) == expected


def test_operations_follow_each_other_and_change_nothing_that_was_given() -> None:
    before, value = repr(HELD), {"inner": []}
    made = applied(HELD, [Operation("update", value=value), Operation("append", "$.inner", 1), Operation("set", "m", 2)])
    assert made == {"inner": [1], "m": 2}
    assert (repr(HELD), value) == (before, {"inner": []})


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Operation("increment", "list", 1), "no number"),
        (Operation("increment", "$.list[1]", 1), "no number"),
        (Operation("remove", "n", 1), "no list"),
        (Operation("set", "$.n.x", 1), "field 'x' is looked for in what is no object"),
        (Operation("set", "$.n[0]", 1), "item 0 is looked for in what is no list"),
        (Operation("set", "$.list.x", 1), "no object"),
        (Operation("set", "$.list[9]", 1), "beyond its end"),
        (Operation("delete", "$.n.x"), "no object"),
        (Operation("set", "$.", 1), "no path"),
        (Operation("set", "$.a..b", 1), "no path"),
        (Operation("set", "$.a[x]", 1), "no path"),
        (Operation("set", "$.a[-1]", 1), "no path"),
        (Operation("set", "$" + ".a" * 33, 1), "32 steps"),
        (Operation("set", "__proto__", 1), "no field may be called"),
        (Operation("set", "$.a.constructor.b", 1), "no field may be called"),
    ],
)
def test_what_does_not_fit(operation: Operation, message: str) -> None:
    with pytest.raises(BadOperation, match=r"^operation 1, ") as raised:
        applied(HELD, [Operation("set", "ok", 1), operation])
    assert message in raised.value.why
    assert f"{operation.kind} {operation.key[:80]!r}: " in str(raised.value)


def test_paths() -> None:
    assert path("a.b[0]") == ["a.b[0]"]
    assert path("$.a b.c[0][12].d") == ["a b", "c", 0, 12, "d"]
