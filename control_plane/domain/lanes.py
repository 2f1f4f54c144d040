"""Lanes: the runs one kind of executor can take, by environment, version, machine and region. Pure."""

from __future__ import annotations

from sojourn.control_plane.domain.regions import DEFAULT


def lane_of(environment: str, version: str, machine: str, region: str = DEFAULT) -> str:
    """The text form of a lane. Of the region `default` it says nothing: such lanes were there before regions."""
    return "|".join((environment, version, machine, *(() if region == DEFAULT else (region,))))


def environment_of(lane: str) -> str:
    """The environment of a lane."""
    return lane.split("|", 1)[0]


def region_of(lane: str) -> str:
    """The region of a lane."""
    parts = lane.split("|")
    return parts[3] if len(parts) > 3 else DEFAULT


#: The version in the lane of runs whose processes wait in memory for their slots.
RESIDENT = "resident"


def is_resident(lane: str) -> bool:
    """Whether the runs of a lane have their processes already."""
    return _version_of(lane) == RESIDENT


def goes_on(lane: str) -> bool:
    """Whether the runs of a lane have begun before, and wait in memory or are frozen: rates are of starts."""
    version = _version_of(lane)
    return version == RESIDENT or "@" in version


def _version_of(lane: str) -> str:
    return lane.split("|", 2)[1]
