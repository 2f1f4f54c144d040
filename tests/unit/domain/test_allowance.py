"""How many calls may be made, as a setting says it."""

from __future__ import annotations

import pytest

from sojourn.control_plane.domain.allowance import Allowance, read


def test_a_setting() -> None:
    assert read("off") is None
    allowance = read("30000:10000/10")
    assert allowance == Allowance(30_000, 10_000, 10)
    assert (allowance.pace_ms, allowance.portion) == (1.0, 60)
    assert Allowance(10, 1, 60).portion == 1


@pytest.mark.parametrize("text", ["", "10", "10:1", "0:1/1", "1:0/1", "1:1/0", "1:1/1s", "-1:1/1", "1:1/1 ", "on"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="like"):
        read(text)
