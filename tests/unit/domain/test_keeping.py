"""Which executors are kept: what is wanted, missing, too many."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.domain.keeping import Kind, Living, missing, read, superfluous, wanted

SMALL, LARGE, OLD = Kind("env", "v2", "small-1x"), Kind("env", "v2", "large-1x"), Kind("env", "v1", "small-1x")


def test_counts_are_read_by_environment_and_machine() -> None:
    assert read(" prod=2, prod/large-1x=1,*=0,") == {("prod", "small-1x"): 2, ("prod", "large-1x"): 1, ("*", "small-1x"): 0}
    assert read("") == {}


@pytest.mark.parametrize("text", ["prod", "prod=-1", "prod=many", "prod/huge=1", "prod=1001", "pr od=1", "=1", "prod==1"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("*=3", {SMALL: 3}),
        ("*=3,prod=1", {SMALL: 1}),
        ("*=3,prod=1,env=2", {SMALL: 2}),
        ("*=3,prod=0", {}),
        ("*=3,prod/large-1x=1", {SMALL: 3, LARGE: 1}),
        ("other=3", {}),
    ],
)
def test_the_nearest_name_counts(text: str, found: dict[Kind, int]) -> None:
    assert wanted(read(text), "env", "prod", "v2") == found


def test_a_kept_one_of_an_old_version_leaves_once_it_idles() -> None:
    living = [Living("e1", OLD, True), Living("e2", OLD, False)]
    assert superfluous({SMALL: 1}, living, set()) == []
    assert superfluous({SMALL: 1}, living, {"e1", "e2"}) == ["e1"]
    assert missing({SMALL: 1}, living) == [SMALL]


kinds = st.sampled_from([SMALL, LARGE, OLD])
livings = st.lists(st.tuples(kinds, st.booleans(), st.booleans()), max_size=12)
wishes = st.dictionaries(kinds, st.integers(1, 5))


@given(livings, wishes)
def test_what_leaves_is_never_placed_again(told: list[tuple[Kind, bool, bool]], wish: dict[Kind, int]) -> None:
    """Placing and dismissing come to rest: after both, nothing is missing, and nothing idle is too much."""
    living = [Living(f"e{n:02}", kind, kept) for n, (kind, kept, _) in enumerate(told)]
    idle = {f"e{n:02}" for n, (_, _, is_idle) in enumerate(told) if is_idle}
    leaving, placed = superfluous(wish, living, idle), missing(wish, living)
    after = [each for each in living if each.executor not in leaving]
    after += [Living(f"new{n}", kind, True) for n, kind in enumerate(placed)]
    assert missing(wish, after) == []
    assert superfluous(wish, after, idle) == []
    counts = Counter(each.kind for each in after)
    assert all(counts[kind] >= count for kind, count in wish.items())
    assert {each.executor for each in living if not each.is_kept or each.executor not in idle}.isdisjoint(leaving)
