"""What matters, measured on one machine, load generator included: `python bench/run.py [case ...]`. A few rows a case."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench.cases import (
    batches,
    bulk_actions,
    calls,
    cold_starts,
    drain,
    fairness,
    freezing,
    frozen_runs,
    idempotency,
    imports,
    latency,
    nomad,
    nomad_tenants,
    queue,
    refusals,
    run_filters,
    schedules,
    slow_clients,
    thaw_start,
    triggers,
)

CASES = {
    "trigger": triggers.main,
    "idempotency": idempotency.main,
    "batches": batches.main,
    "calls": calls.main,
    "bulk_actions": bulk_actions.main,
    "drain": drain.main,
    "latency": latency.main,
    "queue": queue.main,
    "fairness": fairness.main,
    "schedules": schedules.main,
    "run_filters": run_filters.main,
    "slow_clients": slow_clients.main,
    "refusals": refusals.main,
    "freezing": freezing.main,
    "frozen_runs": frozen_runs.main,
    "imports": imports.main,
    "thaw_start": thaw_start.main,
    "nomad": nomad.main,
    "nomad_tenants": nomad_tenants.main,
    "cold_starts": cold_starts.main,
}


def main(wanted: list[str]) -> int:
    """Runs the named cases, or all of them."""
    unknown = set(wanted) - set(CASES)
    if unknown:
        print(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    for name, case in CASES.items():
        if not wanted or name in wanted:
            case()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
