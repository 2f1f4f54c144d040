"""The project's own code, as files, for tests that read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import sojourn


def sources(suffix: str = ".py") -> Iterator[Path]:
    """Every file of the package with that suffix; its folders are links, which a search by itself does not follow."""
    for top in Path(sojourn.__file__).parent.iterdir():
        if top.is_dir():
            yield from top.resolve().rglob(f"*{suffix}")
        elif top.suffix == suffix:
            yield top
