"""How runs wait: what an installation, an environment and a task say about it, and which of them goes first."""

from __future__ import annotations

import pytest

from sojourn.control_plane.domain import waiting_terms
from sojourn.control_plane.domain.waiting_terms import WaitingTerms

HERE = WaitingTerms(after=3, threshold=5, environments={"staging": None, "prod": 30.0, "env_1": 0.0})


@pytest.mark.parametrize(
    ("environment", "slug", "freeze", "after", "threshold"),
    [
        ("env_9", "dev", True, 3, 5),
        ("env_9", "staging", False, 3, 5),
        ("env_9", "prod", True, 30, 30),
        ("env_1", "prod", True, 0, 0),
    ],
)
def test_an_environment_has_its_own_terms(
    environment: str, slug: str, freeze: bool, after: float, threshold: float
) -> None:
    told = HERE.within(environment, slug).for_task(None)
    why = {} if freeze else {"why": "freezing is switched off (SOJOURN_FREEZE_ENVIRONMENTS)"}
    assert told == {"freeze": freeze, "after": after, "threshold": threshold, "short": 5.0, **why}


def test_what_is_off_everywhere_stays_off() -> None:
    terms = WaitingTerms(freeze=False, environments={"prod": 30.0}).within("env_9", "prod")
    assert terms.refusal(None) == "freezing is switched off (SOJOURN_FREEZE)"


def test_the_setting_that_refuses_is_named() -> None:
    assert HERE.within("env_9", "staging").refusal(None) == "freezing is switched off (SOJOURN_FREEZE_ENVIRONMENTS)"
    assert HERE.within("env_9", "prod").refusal(False) == "its task is never frozen (freeze=False)"
    assert HERE.within("env_9", "prod").refusal(True) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [("", {}), ("staging=off, prod=30,a.b-c_1=0.5", {"staging": None, "prod": 30.0, "a.b-c_1": 0.5})],
)
def test_the_setting_is_read(text: str, told: dict[str, float | None]) -> None:
    assert waiting_terms.read(text) == told


@pytest.mark.parametrize(
    "text", ["prod", "prod=", "prod=on", "prod=-1", "=3", "prod=86401", "prod=1e3", "p rod=1", "prod=nan"]
)
def test_what_is_no_such_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        waiting_terms.read(text)
