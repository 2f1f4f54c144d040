"""Fair shares in the whole stack: nine organizations of unequal load on four executors."""

from __future__ import annotations

from bench import tenants
from bench.measure import sql, stack

_LOADS = [1_400 - 100 * n for n in range(9)]


def main() -> None:
    """The index over the runs that each had begun while all of them had work: no executor is of two organizations."""
    with stack(places=4) as made, sql(made) as ask:
        since = tenants.fill(made, _LOADS)
        tenants.serve(ask, since, 240, "fair shares of 9 organizations, whole stack")
