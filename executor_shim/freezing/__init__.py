"""A user's process tree to files and back, by CRIU, and those files as a sealed image. It knows of no run and no HTTP.

    criu      which criu there is, and what a node is to one that was frozen on another
    log       why criu refused, out of its log
    protobuf  criu's images, as far as they are to be read and changed
    identity  numbers and users in an image
    trees     a sandbox's private files, in and out of an image
    sealing   a stream in chunks that are encrypted and authenticated
    images    all files of an image as one sealed stream
    places    where plain images lie while they are written and read
    profile   what a thawed process may be
    state     what is kept beside criu's own files
    frozen    a frozen child, as the shim has it

The sandbox starts criu inside itself (`sandbox.dumping`, `sandbox.thawing`).
"""

from __future__ import annotations

from sojourn.executor_shim.freezing.criu import HOW, find_criu, node_type, obstacle, patience, version

__all__ = ["HOW", "find_criu", "is_connected", "node_type", "obstacle", "patience", "refusal", "version"]


_ESTABLISHED = "01"


def is_connected(pid: int) -> bool:
    """Whether something in the network of that process has an open TCP connection."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                if any(line.split()[3] == _ESTABLISHED for line in file.readlines()[1:]):
                    return True
        except OSError:
            continue
    return False


def refusal(process: object) -> str | None:
    """Why that process cannot be frozen here and now, as far as one can know before; or None."""
    strays = getattr(process, "strays", None)
    if strays is None:
        return "its process has no sandbox"
    return obstacle() or ("a process of it runs beside it as a daemon" if strays() else None)
