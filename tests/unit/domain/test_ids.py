"""Ids, and the ones beside them."""

from __future__ import annotations

from sojourn.control_plane.domain import ids


def test_ids_beside_one() -> None:
    one = "run_" + "0" * 24 + "20"
    assert (ids.preceding(one), ids.following(one)) == ("run_" + "0" * 24 + "1z", "run_" + "0" * 24 + "21")


def test_the_first_and_the_last_have_none_beyond_them() -> None:
    first, last = "run_" + "0" * 26, "run_" + "z" * 26
    assert (ids.preceding(first), ids.following(last)) == (first, last)
    assert ids.is_id(ids.following(first), "run") and first < ids.following(first) < ids.preceding(last) < last
