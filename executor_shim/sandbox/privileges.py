"""Giving up every privilege: a user of its own, no capability, none ever again, and the filter on system calls."""

from __future__ import annotations

import os

from sojourn.executor_shim.sandbox import syscalls

#: NOROOT and NO_CAP_AMBIENT_RAISE, and every bit locked: uid 0, should it ever be reached, has no capability for it.
_SECURE_BITS = 0x01 | 0x40 | 0x02 | 0x08 | 0x20 | 0x80
_LAST_CAPABILITY = 63


def give_up(uid: int, gid: int, calls: bytes) -> None:
    """This process becomes the user, for good. `calls` is the filter on system calls."""
    become(uid, gid)
    syscalls.filter_system_calls(calls)


def become(uid: int, gid: int) -> None:
    """Another user without privileges and without a filter on system calls."""
    for capability in range(_LAST_CAPABILITY + 1):
        try:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
        except OSError:  # beyond the last that this kernel has
            break
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)
    syscalls.prctl(syscalls.PR_SET_SECUREBITS, _SECURE_BITS)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    syscalls.drop_all_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
