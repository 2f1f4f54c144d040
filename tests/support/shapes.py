"""The shapes in which the functional tests run: what holds of a run's process holds however it is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.criu import needs_criu
from tests.support.sandboxes import needs_sandboxes

#: Every wait is one on the server, and its process is frozen at once.
FROZEN = {
    "SOJOURN_SANDBOX": "required",
    "SOJOURN_SANDBOX_NETWORK": "none",
    "SOJOURN_SHORT_WAIT": "0",
    "SOJOURN_FREEZE_AFTER": "0",
    "SOJOURN_FREEZE_THRESHOLD": "0",
}
#: Frozen at every wait, and one executor for all: whatever else there is to do is done by the place that a wait leaves.
ONE_EXECUTOR = {**FROZEN, "SOJOURN_PLACES": "1"}
SHAPES = {
    "plain": {"SOJOURN_SANDBOX": "off"},
    "sandboxed": {"SOJOURN_SANDBOX": "required", "SOJOURN_SANDBOX_NETWORK": "none"},
    "frozen": ONE_EXECUTOR,
}
#: Every attempt waits once, and so is frozen and thawed, before it does anything else.
_WAITS_FIRST = """
from sojourn import tasks, wait


@tasks.on_start_attempt
def waits():
    wait.for_(seconds=1)
"""


def needs(shape: str) -> None:
    """Skips where this machine cannot make the shape; in CI that is a failure."""
    {"plain": lambda: None, "sandboxed": needs_sandboxes, "frozen": needs_criu}[shape]()


def project_in(shape: str, project: Path, directory: Path) -> Path:
    """The project as the shape has it: where processes are frozen, all of its tasks wait first."""
    if shape != "frozen":
        return project
    changed = shutil.copytree(project, directory / "project")
    (changed / "init.py").write_text(_WAITS_FIRST)
    return changed
