"""Version trees on a node: fetched by their hash, verified, published by a rename; the same path on every node."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from sojourn.sdk import archive


def ensure(directory: Path, content_hash: str, fetch: Callable[[str], bytes]) -> Path:
    """The tree of that hash below `directory`. `ArchiveError` if what was fetched is not it.

    Two executors that need it at once may both fetch it: one rename wins, and both trees are the same.
    """
    tree = directory / content_hash
    if tree.is_dir():
        return tree
    directory.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".fetching-", dir=directory))
    try:
        found = archive.unpack(fetch(content_hash), fresh)
        if found != content_hash:
            raise archive.ArchiveError(f"the archive of {content_hash} unpacks to {found}")
        fresh.chmod(0o755)
        try:
            os.rename(fresh, tree)
        except OSError:
            if not tree.is_dir():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return tree
