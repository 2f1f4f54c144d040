"""One level of the fair queue's tree: which of a node's children is next, by deficit round robin with weights. Pure.

A ring holds the children that could serve a run now, each with a virtual time, and a clock. The child with the lowest
virtual time is next (equal times: by name). Serving moves the clock to that time and the child ahead by its cost,
1 / weight. A child that leaves rests with its virtual time, so that leaving and coming back gains nothing; one that
enters starts at the clock, or where it rests if that is later, so that nobody saves up turns while away.

A child can also be served out of its turn, when a warm executor takes what it can run. It is charged the same way, and
the others, whose times now lie behind, go first until they have caught up. `LAG` bounds that debt, in runs of weight 1.
"""

from __future__ import annotations

#: How far behind the most advanced child that was served the clock may stay, in virtual time.
LAG = 100.0


class Ring:
    """The children of one node. An empty ring remembers nothing: nobody waits, so nobody is owed a turn."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self.rest: dict[str, float] = {}
        self.clock = 0.0

    def __bool__(self) -> bool:
        return bool(self.times)

    def in_order(self) -> list[str]:
        """The children, next one first."""
        return sorted(self.times, key=lambda child: (self.times[child], child.encode()))

    def enter(self, child: str) -> None:
        """The child can serve from now on. Nothing changes if it could before."""
        if child not in self.times:
            self.times[child] = max(self.rest.pop(child, 0.0), self.clock)

    def leave(self, child: str) -> None:
        """The child cannot serve any more, because it is empty, paused or at its limit."""
        if child not in self.times:
            return
        time = self.times.pop(child)
        if not self.times:
            self.rest, self.clock = {}, 0.0
        elif time > self.clock:
            self.rest[child] = time

    def serve(self, child: str, cost: float) -> None:
        """One run of the child is taken, in its turn or not."""
        first = min(self.times.values())
        before = self.clock
        self.clock = max(before, first, self.times[child] - LAG)
        self.times[child] = max(self.times[child], before) + cost
        self.rest = {name: time for name, time in self.rest.items() if time > self.clock}
