"""How much is placed on a Nomad cluster, and how long is waited for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """`places`: executors at once; `submissions`: of those, how many may not run yet. The rest in seconds.

    `listing`: how often Nomad's list is compared with ours, whatever events say. `unheard`: how long a job may be without
    an allocation before it is asked for. `undispatched`: how long an executor may be without a job, since another scheduler
    may be about to dispatch it. `answer`: how long whoever places waits for Nomad. `kill`: from SIGTERM to SIGKILL of an
    allocation. `lost`: how long an executor may go on on a node that is lost to Nomad.
    """

    places: int = 100
    submissions: int = 16
    listing: float = 10.0
    unheard: float = 2.0
    undispatched: float = 15.0
    answer: float = 2.0
    kill: float = 10.0
    lost: float = 60.0
