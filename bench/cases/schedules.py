"""Schedules that are all due in the same second: how late the last of them fires. None early, none twice."""

from __future__ import annotations

import os

from tests.support.stack import until

from bench import cpu
from bench.measure import PROJECT, Ask, row, sql, stack

_SCHEDULES = int(os.environ.get("SCHEDULES", "5000"))
_COPIES = """
INSERT INTO schedules
SELECT (jsonb_populate_record(s, jsonb_build_object('id', s.id || n, 'deduplication_key', s.deduplication_key || n,
    'active', true, 'next_tick', t.tick, 'due_at', t.tick))).*
FROM schedules s, generate_series(1, %s) n,
    (SELECT date_trunc('minute', now() + interval '65 seconds') AS tick) t
"""
_FIGURES = """
SELECT count(*), count(DISTINCT schedule_id), extract(epoch FROM min(created_at - scheduled_at)),
    extract(epoch FROM max(created_at - scheduled_at)) FROM runs WHERE schedule_id IS NOT NULL
"""


def main() -> None:
    """The seconds from the tick to the last run stored, and whose CPU time it is; executors carry runs out meanwhile."""
    with stack() as made, sql(made) as ask:
        made.deploy(PROJECT)
        client = made.client()
        first = client.create_schedule({"task": "nothing", "cron": "0 0 1 1 *", "deduplicationKey": "bench"})
        client.switch_schedule(first["id"], False)
        ask("UPDATE schedules SET cron = '* * * * *'")
        before = cpu.by_part(made)
        ask(_COPIES, (_SCHEDULES,))
        until(lambda: _fired(ask) >= _SCHEDULES, 120, "all have fired")
        after = cpu.by_part(made)
        [(runs, schedules, earliest, latest)] = ask(_FIGURES)
    if runs != schedules or earliest < 0:
        raise SystemExit(f"{schedules} schedules have {runs} runs, the first {earliest} s after the tick")
    row(f"{schedules} schedules due at once", runs=runs, first_s=float(earliest), last_s=float(latest))
    cpu.show("  CPU ms a schedule", before, after, int(schedules))


def _fired(ask: Ask) -> int:
    return int(ask("SELECT count(*) FROM schedules WHERE last_tick IS NOT NULL")[0][0])
