"""Which criu this node has, whether it can be used here, and what kind of node this is to a frozen process."""

from __future__ import annotations

import os
import sys
from functools import cache

#: Older ones fail on present kernels.
LEAST = (4, 1)
_CACHED = "4.1.1"
#: What `make criu` builds, and Debian 13 and later have.
HOW = "`make criu` in Sojourn's repository builds it; Debian 13 and later have it (apt-get install criu)"
_PATIENCE, _LONGEST = 10.0, 3_600.0
_KEEPS_NUMBERS = "/proc/sys/kernel/ns_last_pid"
_KEEPS_CLOCKS = "/proc/self/timens_offsets"


def find_criu() -> str | None:
    """The program: named by SOJOURN_CRIU, or on PATH if it is 4.1 or later, or built by `make criu`; else None."""
    named = os.environ.get("SOJOURN_CRIU")
    if named:
        return named if os.access(named, os.X_OK) else None
    import shutil

    found = shutil.which("criu", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if found and _numbers(version(found)) >= LEAST:
        return found
    built = os.path.join(_cache_directory(), "sojourn", "criu", _CACHED, "criu")
    return built if os.access(built, os.X_OK) else None


def patience(usual: float) -> float:
    """Seconds that criu may take for one process: SOJOURN_CRIU_SECONDS, or what is usual."""
    try:
        named = float(os.environ.get("SOJOURN_CRIU_SECONDS") or usual)
    except ValueError:
        return usual
    return named if 0 < named < _LONGEST else usual


@cache
def version(program: str) -> str:
    """As criu tells it, such as `4.1.1`; empty for what is no criu."""
    import subprocess

    try:
        said = subprocess.run(
            [program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(
        (line.split()[1] for line in said.splitlines() if line.startswith("Version:") and len(line.split()) > 1), ""
    )


@cache
def node_type(program: str) -> str:
    """A short hash of what a process that is frozen here needs of the node that it is thawed on.

    The interpreter and the C library as files, the kernel, the processor's flags, and criu.
    """
    import hashlib
    import platform

    known = [
        sys.version, _content(os.path.realpath(sys.executable)), " ".join(platform.libc_ver()), *_libraries(),
        platform.machine(), platform.release(), platform.version(), _processor(), version(program),
    ]  # fmt: skip
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def obstacle() -> str | None:
    """Why no process can be frozen on this node, or None."""
    if sys.platform != "linux":
        return "only Linux has what freezing needs"
    if os.geteuid() != 0:
        return "the shim does not run as root"
    program = find_criu()
    if program is None:
        named = os.environ.get("SOJOURN_CRIU")
        return f"SOJOURN_CRIU={named} is no program" if named else f"there is no criu 4.1 or later: {HOW}"
    if not version(program):
        return f"{program} does not run: `{program} --version` says why"
    if _numbers(version(program)) < LEAST:
        return f"{program} is criu {version(program)}, and 4.1 or later is needed: {HOW}"
    for path, what in ((_KEEPS_NUMBERS, "CONFIG_CHECKPOINT_RESTORE"), (_KEEPS_CLOCKS, "time namespaces (Linux 5.6)")):
        if not os.path.exists(path):
            return f"this kernel lacks {what}"
    missing = [name for name in ("cryptography", "zstandard") if not _is_there(name)]
    return f"Python lacks {' and '.join(missing)}: pip install 'sojourn[freezing]'" if missing else None


def _is_there(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _cache_directory() -> str:
    return os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")


def _libraries() -> list[str]:
    """The C library and its loader, and the interpreter's own library, as this process has them in memory."""
    names = ("libc.so", "libc-", "ld-linux", "ld-musl", "libpython")
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.rstrip("\n").split(" ", 5)[-1].strip() for line in file if "/" in line}
    return [_content(path) for path in sorted(paths) if os.path.basename(path).startswith(names)]


def _content(path: str) -> str:
    import hashlib

    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return path


def _processor() -> str:
    """The flags of the first processor, in order of the alphabet."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return " ".join(sorted(value.split()))
    except OSError:
        pass
    import platform

    return platform.processor()
