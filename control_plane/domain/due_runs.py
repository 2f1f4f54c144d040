"""Due runs: as the fair queue takes them, and as it gives them. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sojourn.control_plane.domain.lanes import lane_of
from sojourn.control_plane.domain.regions import DEFAULT


@dataclass(frozen=True, slots=True)
class Entry:
    """A due run as the queue takes it. `version` is a version's id or "current"; `key` "" stands for none.

    `score` is the moment it was queued, in ms, minus its priority in ms: the lowest goes first.
    """

    run: str
    organization: str
    environment: str
    version: str
    machine: str
    queue: str
    key: str
    score: int
    region: str = DEFAULT

    @property
    def lane(self) -> str:
        """What kind of executor can take it."""
        return lane_of(self.environment, self.version, self.machine, self.region)


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that was dequeued, and the place it was taken from. `lease`: until when it has to be claimed, in ms."""

    run: str
    organization: str
    environment: str
    lane: str
    queue: str
    key: str
    score: int
    lease: int

    @classmethod
    def from_json(cls, text: str | bytes, organization: str) -> Taken:
        """As an executor's channel carries it."""
        run, environment, lane, queue, key, score, lease = json.loads(text)
        return cls(run, organization, environment, lane, queue, key, int(float(score)), int(lease))
