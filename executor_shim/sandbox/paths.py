"""What of the node's files a user's process cannot do without."""

from __future__ import annotations

import os
import sys

#: Of the shim's environment, what names files that a program needs.
_NAMED = ("PYTHONPATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")


def needed_paths(environment: dict[str, str]) -> tuple[str, ...]:
    """What the runner and the libraries of tasks need to see: the interpreter, what it imports from, the SDK."""
    import sojourn

    package = next(iter(sojourn.__path__))
    found = [sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(sys.executable), *sys.path, package]
    found += [os.path.join(package, part) for part in ("sdk", "executor_shim")]
    for name in _NAMED:
        found += environment.get(name, "").split(":")
    paths = {os.path.abspath(path) for path in found if path and os.path.exists(path)}
    paths |= {os.path.realpath(path) for path in paths}
    return tuple(sorted(paths - {"/"}))
