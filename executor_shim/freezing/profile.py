"""What a thawed process may be: every thread of it is looked at while it is stopped. The judging is pure."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def deviation(processes: Iterable[int], uid: int) -> str | None:
    """What a thread of those is that a user's process in a sandbox is not; None where all are as they are to be."""
    for process in processes:
        try:
            threads = os.listdir(f"/proc/{process}/task")
            statuses = [_read(f"/proc/{process}/task/{thread}/status") for thread in threads]
        except OSError as error:
            return f"process {process} cannot be looked at: {error.strerror}"
        for status in statuses:
            found = judge(status, uid)
            if found is not None:
                return found
    return None


def judge(status: str, uid: int) -> str | None:
    """The same of one thread, out of its /proc status."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    told = {name: value.strip() for name, value in fields.items()}
    who = f"{told.get('Name', '?')} ({told.get('Pid', '?')})"
    if told.get("State", "?")[0] in "ZX":  # it has ended, and waits for its parent to look
        return None
    for name in ("Uid", "Gid"):
        if told.get(name, "").split() != [str(uid)] * 4:
            return f"{who} has {name} {told.get(name)} in place of {uid}"
    if told.get("Groups", "?").split() not in ([], [str(uid)]):
        return f"{who} has the groups {told.get('Groups')}"
    for name in _CAPABILITIES:
        if int(told.get(name, "1"), 16):
            return f"{who} has capabilities: {name} {told.get(name)}"
    if told.get("NoNewPrivs") != "1":
        return f"{who} lacks no_new_privs"
    if told.get("Seccomp") != "2":
        return f"{who} lacks the filter on system calls"
    return None


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
