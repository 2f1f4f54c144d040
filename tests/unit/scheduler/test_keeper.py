"""When the keeper places executors ahead of need. That they serve and stay is shown with real ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sojourn.control_plane.domain.keeping import Kind, read
from sojourn.control_plane.domain.sharing import full_environments
from sojourn.scheduler.keeper import Keeper
from sojourn.scheduler.placement.base import CannotPlace, Closed, Placed

NOW = datetime(2026, 3, 4, tzinfo=UTC)
ENVIRONMENT = SimpleNamespace(id="env_1", slug="prod")


class Placing:
    """One environment, whose current version may change."""

    def __init__(self) -> None:
        self.version = "v1"
        self.waiting: set[str] = set()
        self.idle: set[str] = set()
        self.made = 0

    def current_versions(self) -> list[tuple[Any, str, str]]:
        return [(ENVIRONMENT, self.version, "default")]

    def idle_executors(self) -> set[str]:
        return self.idle

    def waiting_environments(self, now: datetime, skip: tuple[str, ...]) -> set[str]:
        return self.waiting

    def spare(self, kind: Kind, now: datetime) -> Any:
        self.made += 1
        told = {"environment": kind.environment, "version": kind.version, "machine": kind.machine, "region": kind.region}
        identity = SimpleNamespace(executor=f"e{self.made}", organization="o", **told)
        return SimpleNamespace(
            identity=identity, version_hash="h", lane=f"{kind.environment}|{kind.machine}", credential="c"
        )


class Placement:
    def __init__(self, places: int = 10) -> None:
        self.places = places
        self.here: list[Placed] = []
        self.closed: dict[str, Closed] = {}
        self.is_broken = False

    def grounds(self) -> list[Placement]:
        return [self]

    def serves(self, lane: str) -> bool:
        return True

    def free(self) -> int:
        return self.places - len(self.here)

    def closed_lanes(self) -> dict[str, Closed]:
        return self.closed

    def living(self) -> list[Placed]:
        return list(self.here)

    def place(self, spec: Any) -> None:
        if self.is_broken:
            raise CannotPlace("no")
        assert spec.run is None
        self.here.append(Placed(spec.executor, spec.environment, spec.version, spec.machine, "1", is_kept=True))

    def stop(self, executor: str, grace: float) -> None:
        self.here = [each for each in self.here if each.executor != executor]


def keeper(placing: Placing, placement: Placement, text: str = "prod=2", most: int = 0) -> Keeper:
    return Keeper(placing, placement, read(text), most)  # type: ignore[arg-type]


def test_it_places_what_is_missing_and_no_more() -> None:
    placing, placement = Placing(), Placement()
    made = keeper(placing, placement)
    assert [made.run_once(NOW)["placed"] for _ in range(3)] == [2, 0, 0]


def test_nothing_is_wanted_without_the_setting() -> None:
    assert keeper(Placing(), Placement(), "").run_once(NOW) == {"placed": 0, "dismissed": 0}


def test_a_new_version_gets_its_own_and_the_old_ones_leave_when_they_idle() -> None:
    placing, placement = Placing(), Placement()
    made = keeper(placing, placement)
    made.run_once(NOW)
    placing.version, placing.idle = "v2", {"e1"}
    assert made.run_once(NOW) == {"placed": 2, "dismissed": 1}
    assert [(each.executor, each.version) for each in placement.here] == [("e2", "v1"), ("e3", "v2"), ("e4", "v2")]


def test_runs_that_wait_come_first_but_not_those_that_may_have_no_more() -> None:
    placing, placement = Placing(), Placement()
    placing.waiting = {"env_2"}
    made = keeper(placing, placement, most=1)
    assert made.run_once(NOW)["placed"] == 0
    placement.here = [Placed("e9", "env_2", "v1", "small-1x", "1")]
    assert "env_2" in full_environments(["env_2"], 1)
    assert made.run_once(NOW)["placed"] == 1, "and no more than the environment may have"


def test_it_leaves_no_place_unasked() -> None:
    placing, placement = Placing(), Placement(places=1)
    assert keeper(placing, placement).run_once(NOW)["placed"] == 1


def test_a_closed_lane_is_left_alone() -> None:
    placing, placement = Placing(), Placement()
    placement.closed["env_1|small-1x"] = Closed("no node fits")
    assert keeper(placing, placement).run_once(NOW)["placed"] == 0


def test_those_that_end_at_once_are_not_made_for_ever() -> None:
    placing, placement = Placing(), Placement()
    made = keeper(placing, placement)
    for _ in range(20):
        made.run_once(NOW)
        placement.here = []
    most = placing.made
    assert 2 <= most <= 5
    made.run_once(NOW + timedelta(minutes=2))
    assert placing.made == most + 2


def test_what_cannot_be_placed_is_tried_again_later() -> None:
    placing, placement = Placing(), Placement()
    placement.is_broken = True
    made = keeper(placing, placement)
    assert made.run_once(NOW)["placed"] == 0
    placement.is_broken = False
    assert made.run_once(NOW + timedelta(minutes=2))["placed"] == 2
