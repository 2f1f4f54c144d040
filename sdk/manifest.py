"""What a project's code declares, found by importing it: the manifest of a version."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

from sojourn.sdk.errors import TaskDefinitionError
from sojourn.sdk.importing import Importing
from sojourn.sdk.options import Queue
from sojourn.sdk.protocol import VERSION
from sojourn.sdk.registry import Registry, registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType
    from typing import Any

    from sojourn.sdk.task import Task

#: Imported before everything else, if it is there: the place for project-wide hooks.
INIT = "init.py"
#: In a version's tree: which files are imported before any task's, one a line. Projects cannot have a file of that name.
HOOK_FILES = ".sojourn/hooks"
_NOT_TASKS = ("setup.py", "conftest.py", "__main__.py")


def load(directory: Path, file: str) -> ModuleType:
    """Imports one file of a project by its path relative to the project's directory, which is on `sys.path`.

    It gets the name under which the project's other files import it, unless something else has that name already. What it
    asks of the API meanwhile, beyond reading, is refused.
    """
    with Importing(file):
        return _load(directory, file)


def _load(directory: Path, file: str) -> ModuleType:
    path = directory / file
    parts = Path(file).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    if name and all(part.isidentifier() for part in parts):
        if _is_file(sys.modules.get(name), path):
            return sys.modules[name]
        if _leads_to(name, path):
            return importlib.import_module(name)
    return _load_apart(f"sojourn_project_{'_'.join(parts)}".replace("-", "_"), path)


def collect(directory: Path) -> dict[str, Any]:
    """Imports every Python file of a project and tells what it declares."""
    from sojourn.sdk.archive import included

    directory = directory.resolve()
    sys.path.insert(0, str(directory))
    files = [path for path in included(directory) if path.endswith(".py") and _may_hold_tasks(path)]
    files.sort(key=lambda path: (path != INIT, path))
    modules = [load(directory, file) for file in files]
    return describe(registry, directory, modules) | {"hookFiles": hook_files(registry, directory, files)}


def hook_files(known: Registry, directory: Path, files: list[str]) -> list[str]:
    """Those of a project's files that have to be imported before any task runs, `init.py` aside.

    A hook of the whole project, or of another file's task, is there only once the file that declares it was imported.
    """
    everybodys: list[tuple[list[str], str | None]] = [(places, None) for places in known.hooks.places]
    of_tasks = [(places, task.file) for task in known.tasks.values() for places in task.hooks.places]
    names = {directory / file: file for file in files}
    found = set()
    for places, own in everybodys + of_tasks:
        inside = [place for place in map(_resolved, places) if place in names]
        if inside and (own is None or inside[0] != _resolved(own)):
            found.add(names[inside[0]])
    return [file for file in files if file in found - {INIT}]


def _resolved(file: str) -> Path:
    return Path(file).resolve()


def to_pack(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What goes into a version's archive beside the project's own files; nothing for most projects."""
    files = manifest.get("hookFiles")
    return {HOOK_FILES: "".join(f"{file}\n" for file in files)} if files else {}


def imported_first(directory: Path) -> list[str]:
    """The files of an unpacked version that are imported before its tasks', in that order."""
    init = [INIT] if (directory / INIT).exists() else []
    try:
        listed = (directory / HOOK_FILES).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return init
    return init + [file for file in listed.split("\n") if file]


def describe(known: Registry, directory: Path, modules: list[ModuleType]) -> dict[str, Any]:
    """The manifest of what is registered, and of the queues that the modules name."""
    import platform

    tasks = sorted(known.tasks.values(), key=lambda task: task.id)
    return {
        "sdk": VERSION,
        "python": platform.python_version(),
        "tasks": [_task(task, directory) | _hooks(known, task) for task in tasks],
        "queues": _queues([value for module in modules for value in vars(module).values() if isinstance(value, Queue)]),
    }


def _may_hold_tasks(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name not in _NOT_TASKS and not name.startswith("test_") and "tests" not in path.split("/")[:-1]


def _is_file(module: ModuleType | None, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == path.resolve()


def _leads_to(name: str, path: Path) -> bool:
    """Whether importing `name` would import that very file, and not a module of Python's or of a library."""
    if name in sys.modules:
        return False
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return False
    return found is not None and found.origin is not None and Path(found.origin).resolve() == path.resolve()


def _load_apart(name: str, path: Path) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _task(task: Task, directory: Path) -> dict[str, Any]:
    try:
        file = Path(task.file).resolve().relative_to(directory)
    except ValueError:
        raise TaskDefinitionError(f"task {task.id!r} is defined in {task.file}, outside the project") from None
    made = {
        "id": task.id,
        "file": file.as_posix(),
        "export": task.name,
        "description": task.description,
        "queue": None if task.queue is None else _queue(task.queue),
        "retry": task.retry.to_wire(),
        "machine": task.machine,
        "maxDuration": task.max_duration,
        "ttl": task.ttl,
        "payloadSchema": task.payload_schema(),
    }
    if task.schedule is not None:
        made["schedule"] = task.schedule.to_wire()
    return made if task.freeze else made | {"freeze": False}


def _hooks(known: Registry, task: Task) -> dict[str, Any]:
    """What the platform has to know of hooks: whether it is to call some."""
    return {"onEnd": True} if known.hooks.of("on_end") or task.hooks.of("on_end") else {}


def _queue(queue: Queue) -> dict[str, Any]:
    wire: dict[str, Any] = {"name": queue.name}
    if queue.concurrency_limit is not None:
        wire["concurrencyLimit"] = queue.concurrency_limit
    for name, rate in (("rate", queue.rate), ("keyRate", queue.key_rate)):
        if rate is not None:
            wire[name] = rate.to_wire()
    return wire


def _declared_twice(known: Queue, queue: Queue) -> str:
    if known.concurrency_limit != queue.concurrency_limit:
        limits = f"{known.concurrency_limit} and {queue.concurrency_limit}"
        return f"the queue {queue.name!r} is declared with two concurrency limits, {limits}"
    return f"the queue {queue.name!r} is declared with two rates, {known!r} and {queue!r}"


def _queues(declared: list[Queue]) -> list[dict[str, Any]]:
    """Each queue once; one name with two limits, or two rates, is an error."""
    found: dict[str, Queue] = {}
    for queue in declared:
        known = found.setdefault(queue.name, queue)
        if known != queue:
            raise TaskDefinitionError(_declared_twice(known, queue))
    return [_queue(found[name]) for name in sorted(found)]
