"""What is no module and is read at run time is in the wheel: a pattern of setup.cfg has it."""

from __future__ import annotations

import configparser
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("control_plane", "scheduler", "nomad_jobs", "executor_shim", "sdk", "cli", "web")


def in_package(path: Path) -> str:
    """A file's path below the nearest package: that is what patterns are about."""
    package = next(parent for parent in path.parents if (parent / "__init__.py").exists())
    return str(path.relative_to(package))


def test_every_file_is_in_the_wheel() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = [pattern.strip() for pattern in settings["options.package_data"]["*"].split(",")]
    files = [path for part in PARTS for path in (ROOT / part).rglob("*") if path.is_file()]
    data = [path for path in files if path.suffix not in (".py", ".pyc")]
    assert {path.suffix for path in data} >= {".sql", ".lua", ".html", ".css", ".js", ".hcl"}
    missing = [str(path) for path in data if not any(same_depth(in_package(path), each) for each in patterns)]
    assert missing == []


def same_depth(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatch(path, pattern)
