"""All keys and channels in Redis, each with what it holds. Pure.

Every key of an organization begins with `sojourn:{<organization>}:`: the braces are the hash tag, so that they share a
shard of a cluster. The scripts are given this prefix and build the keys below from it, since a key's name depends on
what was read before. Names of nodes are those of `domain/entries.py`; they hold no text of users but percent-encoded.

    limits                        hash    `=state` ready or building:<token>; `=organization`, `<environment>` and
                                          `<environment>|<queue>`: packed limits, see `fields`
    items                         hash    run → `<score>|<leaf>`, for every run that waits or is in flight
    inflight                      zset    run → when its lease lapses, ms; also the slots of the organization
    slots:<environment>[|<queue>[|<key>]]   set     runs in flight there
    runs:<leaf>                   zset    runs that wait, by score
    ring:<node>, rest:<node>      zsets   children that can serve, and those that owe turns (lua/_ring.lua); nodes are
                                          "" (the organization), <environment>, <lane>, <lane>|<queue>
    lanes:<environment>|<queue>   set     lanes where a key of the queue could serve, were the queue not at its limit
    lanes:<environment>|<queue>|<key>   set   lanes where runs of the key wait
    idle                          zset    lanes with idle executors
    idle:<lane>                   zset    idle executors, by the time they were parked, ms
    parked:<executor>             string  `<until, ms> <lane> …`
    executor:<executor>           channel what is handed to an executor (`Taken.from_json`)
    run:<run>                     channel the run's new status, whenever something happened to it
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sojourn.control_plane.domain.entries import encode
from sojourn.control_plane.domain.limits import EnvironmentLimits, Limits, QueueLimits, cost

#: Organizations that have due work, by virtual time. May lag; whoever chooses from it is told by the organization itself.
ORGANIZATIONS_RING = "sojourn:{organizations}:ring"
#: Organizations without due work that owe turns.
ORGANIZATIONS_REST = "sojourn:{organizations}:rest"

#: What a rebuild does not clear: the limits it has just set, and the executors that are idle all the while.
KEPT_BY_REBUILD = ("limits", "idle", "idle:", "parked:")


def prefix(organization: str) -> str:
    """What every key of the organization begins with."""
    return f"sojourn:{{{organization}}}:"


def executor_channel(organization: str, executor: str) -> str:
    """Where an idle executor hears what it is handed."""
    return f"sojourn:{{{organization}}}:executor:{executor}"


def run_channel(organization: str, run: str) -> str:
    """Where those who wait for a run hear of it."""
    return f"sojourn:{{{organization}}}:run:{run}"


def wake(service: str) -> str:
    """List of at most one element: somebody rang for the service and it has not looked since."""
    return f"sojourn:wake:{service}"


def offers(name: str) -> str:
    """String: how many of an offer are left to take. Lapses."""
    return f"sojourn:offers:{name}"


def organization_fields(limits: Limits) -> Iterator[tuple[str, str]]:
    """All fields of an organization's hash `limits`."""
    yield "=organization", f"{_number(limits.concurrency)} {cost(limits.weight)!r}"
    yield from fields(limits.environments, limits.queues)


def fields(
    environments: Mapping[str, EnvironmentLimits], queues: Mapping[tuple[str, str], QueueLimits]
) -> Iterator[tuple[str, str]]:
    """Packed limits, three words: capacity (`-`: none), cost of a run, and the capacity of each node right below."""
    for environment, its in environments.items():
        yield environment, f"{_number(its.capacity)} {cost(its.weight)!r} {_number(its.queue_capacity)}"
    for (environment, queue), of in queues.items():
        capacity = 0 if of.stopped else None
        yield f"{environment}|{encode(queue)}", f"{_number(capacity)} {cost(of.weight)!r} {_number(of.key_capacity)}"


def _number(capacity: int | None) -> str:
    return "-" if capacity is None else str(capacity)
