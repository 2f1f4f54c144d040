"""What the fair queue holds of a queue or a run, for people to read: counted as it goes on, no one moment's picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from sojourn.control_plane.domain.explaining import Held, Line
from sojourn.control_plane.domain.lanes import goes_on
from sojourn.control_plane.queue import keys
from sojourn.control_plane.queue.fair_queue import NotReady

#: Of the runs that hold the slots of a limit, so many are named.
_HOLDERS = 10


@dataclass(frozen=True, slots=True)
class Load:
    """Runs of a queue that hold slots, and those that wait."""

    running: int
    waiting: int


class Loads:
    """Reads only. `NotReady` after a loss."""

    def __init__(self, connection: redis.Redis):
        self._redis = connection

    def of_queues(self, organization: str, places: Sequence[tuple[str, str]]) -> list[Load]:
        """The loads of queues, each named by its environment and its name: one round trip, however many runs they have."""
        prefix = keys.prefix(organization)
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(prefix + "ready")
            for place in places:
                pipeline.scard(f"{prefix}slots:q:{keys.within(*place)}")
                pipeline.smembers(f"{prefix}lanes:{keys.within(*place)}")
                pipeline.hget(f"{prefix}waiting", keys.within(*place))
            ready, *found = pipeline.execute()
        if not ready:
            raise NotReady({organization})
        loads = []
        for place, running, lanes, count in zip(places, found[::3], found[1::3], found[2::3], strict=True):
            if lanes and count is None:  # it has had work since before queues were counted
                nodes = [keys.within(lane.decode(), place[1]) for lane in sorted(lanes)]
                loads.append(Load(running, sum(self._waiting(prefix, nodes))))
            else:
                loads.append(Load(running, max(int(count), 0) if lanes else 0))
        return loads

    def of_run(self, organization: str, run: str) -> Line | None:
        """Where a run stands and who holds the slots that it needs; None for a run that the queue does not know."""
        prefix = keys.prefix(organization)
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(prefix + "ready")
            pipeline.hget(prefix + "items", run)
            pipeline.zscore(prefix + "inflight", run)
            ready, item, lease = pipeline.execute()
        if not ready:
            raise NotReady({organization})
        if item is None:
            return None
        environment, lane, queue, key, _ = json.loads(item)
        place = keys.within(environment, queue)
        sets = ("org", f"e:{environment}", f"q:{place}", f"k:{place}/{key}")
        whole, each, own = self._redis.hmget(prefix + "limits", f"rq:{place}", f"rk:{place}", f"rk:{place}/{key}")
        paced = [(whole or b"") + f" q:{place}".encode(), (own or each or b"") + f" k:{place}/{key}".encode()]
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in sets:
                pipeline.scard(f"{prefix}slots:{name}")
                pipeline.srandmember(f"{prefix}slots:{name}", _HOLDERS)
            pipeline.zrank(f"{prefix}leaf:{keys.within(lane, queue)}/{key}", run)
            pipeline.zmscore(prefix + "paces", paced)
            *found, ahead, paces = pipeline.execute()
        held = [
            Held(count, tuple(sorted(name.decode() for name in names)))
            for count, names in zip(found[::2], found[1::2], strict=True)
        ]
        # Runs of other environments are nobody's business here: of the organization's only the environment's are named.
        of_organization = Held(held[0].count, held[1].runs)
        queue_pace, key_pace = (None, None) if goes_on(lane) else paces
        return Line(of_organization, held[1], held[2], held[3], lease is not None, ahead or 0, queue_pace, key_pace)

    def _waiting(self, prefix: str, nodes: Sequence[str]) -> list[int]:
        """Runs that wait in each node, over all its concurrency keys."""
        if not nodes:
            return []
        with self._redis.pipeline(transaction=False) as pipeline:
            for node in nodes:
                pipeline.zrange(f"{prefix}ring:{node}", 0, -1)
                pipeline.zrange(f"{prefix}held:{node}", 0, -1)
            found = pipeline.execute()
        children = [(*ring, *held) for ring, held in zip(found[::2], found[1::2], strict=True)]
        with self._redis.pipeline(transaction=False) as pipeline:
            for node, names in zip(nodes, children, strict=True):
                for name in names:
                    pipeline.zcard(f"{prefix}leaf:{node}/".encode() + name)
            counts = iter(pipeline.execute())
        return [sum(next(counts) for _ in names) for names in children]
