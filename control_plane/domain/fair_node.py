"""A node of the fair queue's tree: which of its children is served next; see `fairness`. Pure."""

from __future__ import annotations

from collections.abc import Collection

#: Runs that a child may be behind the clock: more is forgotten when it is served again; and that the clock may be behind
#: the child served.
PATIENCE = 300


class Node:
    """Children of one node: those that can serve, those held back, those at rest; and the clock."""

    def __init__(self) -> None:
        self.ring: dict[str, float] = {}
        self.held: dict[str, float] = {}
        self.rest: dict[str, float] = {}
        self.clock = 0.0

    def first(self, among: Collection[str] | None = None, skip: Collection[str] = ()) -> str | None:
        """The child with the lowest virtual time, ties by name."""
        names = [name for name in self.ring if (among is None or name in among) and name not in skip]
        return min(names, key=lambda name: (self.ring[name], name.encode()), default=None)

    def in_order(self) -> list[str]:
        """The children that can serve, in the order of their turns."""
        return sorted(self.ring, key=lambda name: (self.ring[name], name.encode()))

    def settle(self, child: str, work: str, blocked: bool) -> None:
        """`work`: none, held or ring, as the child's own children stand."""
        if work == "none":
            self._retire(child)
            return
        held = blocked or work == "held"
        into, other = (self.held, self.ring) if held else (self.ring, self.held)
        if child not in into:
            time = other.pop(child, self.rest.pop(child, 0.0))
            into[child] = time if held else max(time, self.clock)

    def charge(self, child: str, weight: float) -> None:
        """The child was served. However long nobody could serve it, it has at most PATIENCE runs in advance."""
        time = max(self.ring[child], self.clock - PATIENCE / weight)
        self.ring[child] = time + 1 / weight
        # One that is further behind than that waits for executors of its own: the others are not kept by it.
        front = min(other for other in self.ring.values() if other >= time - PATIENCE / weight)
        self.clock = max(self.clock, min(time, front))

    def work(self) -> str:
        """What a parent must know of this node."""
        return "ring" if self.ring else "held" if self.held else "none"

    def _retire(self, child: str) -> None:
        time = self.ring.pop(child, None)
        time = self.held.pop(child, time)
        if time is not None and time > self.clock:
            self.rest[child] = time
        if not self.ring and not self.held:
            self.rest.clear()
            self.clock = 0.0
