"""Whose CPU time a stack's work is: seconds by part, read from /proc before and after."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

from tests.support.stack import Stack

from bench.measure import row

Spent = dict[str, float]

_TICK = 1 / os.sysconf("SC_CLK_TCK")
#: A process whose command line has the text belongs to the part; the first match counts.
_PARTS = (
    ("sojourn.executor_shim", "executors"),
    ("gunicorn", "control plane"),
    ("sojourn.scheduler", "scheduler"),
    ("redis-server", "Redis"),
    ("postgres", "PostgreSQL"),
)


def by_part(of: Stack) -> Spent:
    """CPU seconds, user and system, ended children included, of a stack's processes and those below them."""
    spent: Spent = defaultdict(float)  # of seconds
    parents = {int(path.name): path for path in Path("/proc").iterdir() if path.name.isdigit()}
    stats = {pid: found for pid, path in parents.items() if (found := _stat(path))}
    ours = set(of.processes()) & set(stats)
    grew = True
    while grew:
        more = {pid for pid, (parent, _) in stats.items() if parent in ours and pid not in ours}
        ours |= more
        grew = bool(more)
    for pid in ours:
        spent[_part(pid)] += stats[pid][1]
    return spent


def _stat(path: Path) -> tuple[int, float] | None:
    try:
        fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return int(fields[1]), sum(int(each) for each in fields[11:15]) * _TICK


def _part(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "other"
    return next((part for text, part in _PARTS if text in command), "other")


def show(case: str, before: Spent, after: Spent, count: int) -> None:
    """Prints the CPU ms that each part spent for each of `count` pieces of work."""
    each = {part: (after[part] - before.get(part, 0)) * 1e3 / count for part in after}
    spent = {part.replace(" ", "_"): ms for part, ms in sorted(each.items(), key=lambda item: -item[1]) if ms >= 0.01}
    row(case, **spent, all=sum(each.values()))
