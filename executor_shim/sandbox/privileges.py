"""Giving up every privilege: a user of its own, no capability, none ever again, and the filter on system calls."""

from __future__ import annotations

import os

from sojourn.executor_shim.sandbox import syscalls

#: NOROOT and NO_CAP_AMBIENT_RAISE, and every bit locked: uid 0, should it ever be reached, has no capability for it.
_SECURE_BITS = 0x01 | 0x40 | 0x02 | 0x08 | 0x20 | 0x80
_LAST_CAPABILITY = 63


#: CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_SYS_ADMIN: without these there is no sandbox to be made.
_NEEDED = 1 << 6 | 1 << 7 | 1 << 8 | 1 << 21


def regain() -> bool:
    """A process of an ordinary user that was given what sandboxes take becomes root; whether it has."""
    if _effective() & _NEEDED != _NEEDED:
        return False
    try:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
    except OSError:
        return False
    return True


def may(capability: int) -> bool:
    """Whether this process has that capability in effect."""
    return bool(_effective() >> capability & 1)


def _effective() -> int:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        return int(next((line.split()[1] for line in file if line.startswith("CapEff:")), "0"), 16)


def renounce(user: int | None = None) -> None:
    """This process, and what it starts, goes on without any privilege: as `user`, or whoever it is."""
    _drop_bounds()
    if user is not None and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    syscalls.drop_all_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def give_up(uid: int, gid: int, calls: bytes) -> None:
    """This process becomes the user, for good. `calls` is the filter on system calls."""
    become(uid, gid)
    syscalls.filter_system_calls(calls)


def become(uid: int, gid: int) -> None:
    """Another user without privileges and without a filter on system calls."""
    _drop_bounds()
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    syscalls.prctl(syscalls.PR_SET_SECUREBITS, _SECURE_BITS)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    syscalls.drop_all_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def _drop_bounds() -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the last that this kernel has, or not ours to drop
            break
