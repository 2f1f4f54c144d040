"""Draws the generated pages: `python tools/pages.py` writes them, `--check` says whether they are fresh."""

from __future__ import annotations

import sys
from pathlib import Path

from sojourn.control_plane.config import SETTINGS
from sojourn.control_plane.domain import lifecycle

DOCS = Path(__file__).resolve().parent.parent / "docs"


def lifecycle_page() -> str:
    """The state machine."""
    rows = [
        f"| {row.source or '—'} | {row.event} | {row.target} | {', '.join(row.shows)} | {row.why} |"
        for row in lifecycle.TRANSITIONS
    ]
    head = "# The life of a run\n\nDrawn from `control_plane/domain/lifecycle.py` by `make docs`.\n\n"
    table = "| from | event | to | shows | why |\n|---|---|---|---|---|\n" + "\n".join(rows)
    return f"{head}```mermaid\n{lifecycle.as_mermaid()}\n```\n\n{table}\n"


def settings_page() -> str:
    """Every setting."""
    rows = [
        f"| `{each.variable}` | {'' if each.default == '' else each.default} | {each.takes} | {each.help} |"
        for each in SETTINGS
        if each.name != "places"
    ]
    places = "| `SOJOURN_PLACES` | twice the cores, 4 at least | a whole number from 1 to 1000 | Local executors at once. |"
    head = "# Settings\n\nDrawn from `control_plane/config.py` by `make docs`.\n\n"
    return head + "| variable | default | takes | meaning |\n|---|---|---|---|\n" + "\n".join([*rows, places]) + "\n"


PAGES = {"lifecycle.md": lifecycle_page, "settings.md": settings_page}


def main(check: bool) -> int:
    """0 when every page is (now) fresh."""
    stale = [name for name, draw in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != draw()]
    if check:
        print("\n".join(f"{name} is stale: run `make docs`" for name in stale))
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(PAGES[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
