"""What a project's code declares, found by importing it: the manifest of a version."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sojourn.sdk.archive import included
from sojourn.sdk.errors import TaskDefinitionError
from sojourn.sdk.protocol import VERSION
from sojourn.sdk.registry import Registry, registry
from sojourn.sdk.task import Task

#: Imported before everything else, if it is there: the place for project-wide hooks.
INIT = "init.py"
_NOT_TASKS = ("setup.py", "conftest.py")


def load(directory: Path, file: str) -> ModuleType:
    """Imports one file of a project by its path relative to the project's directory."""
    parts = Path(file).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    if all(part.isidentifier() for part in parts):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), directory / file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def collect(directory: Path) -> dict[str, Any]:
    """Imports every Python file of a project and tells what it declares."""
    directory = directory.resolve()
    sys.path.insert(0, str(directory))
    files = [path for path in included(directory) if path.endswith(".py") and not path.endswith(_NOT_TASKS)]
    files = [path for path in files if not path.startswith("tests/") and not Path(path).name.startswith("test_")]
    for file in sorted(files, key=lambda path: (path != INIT, path)):
        load(directory, file)
    return describe(registry, directory)


def describe(known: Registry, directory: Path) -> dict[str, Any]:
    """The manifest of what is registered."""
    return {
        "sdk": VERSION,
        "python": platform.python_version(),
        "tasks": [_task(task, directory) for task in sorted(known.tasks.values(), key=lambda task: task.id)],
        "queues": [],
    }


def _task(task: Task, directory: Path) -> dict[str, Any]:
    try:
        file = Path(task.file).resolve().relative_to(directory)
    except ValueError:
        raise TaskDefinitionError(f"task {task.id!r} is defined in {task.file}, outside the project") from None
    queue: dict[str, str | int] | None = None
    if task.queue is not None:
        queue = {"name": task.queue.name}
        if task.queue.concurrency_limit is not None:
            queue["concurrencyLimit"] = task.queue.concurrency_limit
    return {
        "id": task.id,
        "file": file.as_posix(),
        "export": task.name,
        "description": task.description,
        "queue": queue,
        "retry": task.retry.to_wire(),
        "machine": task.machine,
        "maxDuration": task.max_duration,
        "ttl": task.ttl,
        "payloadSchema": task.payload_schema(),
    }
