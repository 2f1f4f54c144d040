"""System calls that Python 3.11 has no function for, by ctypes; an error is an `OSError` that names the call."""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000
)  # fmt: skip
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1, 2, 4, 8, 32, 4096, 16384, 1 << 18
)  # fmt: skip
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_SECUREBITS = 1, 4, 15, 23, 24, 28
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_CAP_AMBIENT = 38, 22, 36, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_void_p))


def unshare(flags: int) -> None:
    """Puts this process (PID: its next children) into new namespaces."""
    _checked("unshare", _libc.unshare(flags))


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    done = _libc.mount(
        source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    _checked(f"mount of {target}", done)


def detach(target: str) -> None:
    """Takes a mount out of the tree, whatever still uses it."""
    _checked(f"umount of {target}", _libc.umount2(target.encode(), MNT_DETACH))


def swap_root(new: str) -> None:
    """Makes `new`, a mount, the root, and leaves the old one without a name."""
    os.chdir(new)
    _checked("pivot_root", _libc.syscall(ctypes.c_long(_PIVOT_ROOT[os.uname().machine]), b".", b"."))
    detach(".")
    os.chdir("/")


_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}


def prctl(option: int, *arguments: int) -> int:
    """prctl(2); its result."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    result: int = _libc.prctl(option, *(ctypes.c_ulong(each) for each in padded))
    _checked(f"prctl {option}", result)
    return result


def drop_all_capabilities() -> None:
    """Empties the effective, permitted and inheritable sets."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked("capset", _libc.capset(header, (ctypes.c_uint32 * 6)()))


def filter_system_calls(program: bytes) -> None:
    """Installs a seccomp filter, for good."""
    buffer = ctypes.create_string_buffer(program, len(program))
    made = _Filter(len(program) // 8, ctypes.addressof(buffer))
    _checked("seccomp", _libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(made), 0, 0))


def _checked(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
