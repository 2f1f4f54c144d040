"""How much memory processes have, as Linux counts it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def memory(pid: int, field: Literal["VmRSS", "VmHWM"]) -> int:
    """Bytes: `VmRSS`, what a process holds; `VmHWM`, the most that it has held."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
