"""Indexing a project on disk, in a process of its own as deploying does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sojourn.sdk.manifest import to_pack

PROJECT = {
    "init.py": "from sojourn import tasks\norder = ['init']\n@tasks.on_success\ndef told(): ...\n",
    "mail/__init__.py": "",
    "mail/send.py": '''
from dataclasses import dataclass
from init import order
from sojourn import Queue, Retry, task
from mail import shared

print("printed by the project")
order.append("send")
emails = Queue("emails", concurrency_limit=5)

@dataclass
class Email:
    to: str
    urgent: bool = False

@task(retry=Retry(max_attempts=5), queue=emails, machine="micro", max_duration=60, ttl="10m")
def send_email(payload: Email) -> None:
    """Sends an email."""
''',
    "mail/shared.py": "from sojourn import Queue, task\nunused = Queue('slow', 1)\n@task\ndef anything(payload): ...\n",
    "queue.py": "from sojourn import task\n@task\ndef named_like_pythons(payload: int): ...\n",
    "my-tasks.py": "from sojourn import task\n@task(id='dashed', schedule='0 6 * * *')\ndef one(): ...\n",
    "__main__.py": "raise SystemExit(9)\n",
    "setup.py": "raise RuntimeError('not a task')\n",
    "tests/test_it.py": "raise RuntimeError('not a task')\n",
    "mail/test_send.py": "raise RuntimeError('not a task')\n",
    ".venv/lib.py": "raise RuntimeError('not a task')\n",
}


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def index(directory: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "sojourn.sdk.index", str(directory), str(output)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("output") / "manifest.json"
    told = index(write(tmp_path_factory.mktemp("a sojourn project"), PROJECT), output)
    assert told.returncode == 0, told.stderr
    assert told.stdout == "printed by the project\n"
    found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return found


def test_every_task_of_the_project_is_found(manifest: dict[str, Any]) -> None:
    assert [(task["id"], task["file"], task["export"]) for task in manifest["tasks"]] == [
        ("anything", "mail/shared.py", "anything"),
        ("dashed", "my-tasks.py", "one"),
        ("named-like-pythons", "queue.py", "named_like_pythons"),
        ("send-email", "mail/send.py", "send_email"),
    ]
    assert manifest["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_task_has_its_options(manifest: dict[str, Any]) -> None:
    assert manifest["tasks"][3] == {
        "id": "send-email",
        "file": "mail/send.py",
        "export": "send_email",
        "description": "Sends an email.",
        "queue": {"name": "emails", "concurrencyLimit": 5},
        "retry": {
            "maxAttempts": 5,
            "factor": 2.0,
            "minTimeoutInMs": 1000,
            "maxTimeoutInMs": 60000,
            "randomize": True,
        },
        "machine": "micro",
        "maxDuration": 60,
        "ttl": 600,
        "payloadSchema": {
            "type": "object",
            "properties": {"to": {"type": "string"}, "urgent": {"type": "boolean"}},
            "required": ["to"],
            "additionalProperties": False,
        },
    }
    assert manifest["tasks"][0]["payloadSchema"] is None


def test_a_task_has_its_schedule(manifest: dict[str, Any]) -> None:
    schedule = {"cron": "0 6 * * *", "timezone": "UTC", "overlap": "allow", "catchUp": "last"}
    assert [task.get("schedule") for task in manifest["tasks"]] == [None, schedule, None, None]


def test_queues_are_found_whether_a_task_uses_them_or_not(manifest: dict[str, Any]) -> None:
    assert manifest["queues"] == [{"name": "emails", "concurrencyLimit": 5}, {"name": "slow", "concurrencyLimit": 1}]


TASK = "from sojourn import task\n@task(id='same')\ndef one(): ...\n"

REFUSED: list[tuple[dict[str, str], tuple[str, ...]]] = [
    ({"a.py": TASK, "b.py": TASK}, ("two tasks have the id 'same'", "a.py:2", "b.py:2")),
    (
        {"a.py": "import b\n", "b.py": "def inner():\n    raise ValueError('no good')\ninner()\n"},
        ("a.py", "line 1", "b.py", "line 3", "no good"),
    ),
    ({"a.py": "def f(:\n"}, ("a.py", "line 1", "SyntaxError")),
    (
        {"a.py": "import not_installed_anywhere.part\n"},
        ("a.py", "No module named 'not_installed_anywhere'", "install what brings", f"for {sys.executable}"),
    ),
    ({"a.py": "raise SystemExit(3)\n"}, ("ended Python (3)", "if __name__ == '__main__'")),
    ({"a.py": "raise KeyboardInterrupt\n"}, ("KeyboardInterrupt", "a.py")),
    ({"a.py": "from sojourn import task\n@task\ndef f(a, b, c): ...\n"}, ("nobody can give it c", "a.py", "line 2")),
    (
        {"a.py": "from sojourn import task\n@task\ndef f(a: 'Missing'): ...\n"},
        ("type hints of task 'f' cannot be read",),
    ),
    (
        {"a.py": "from sojourn import Queue\na = Queue('q', 1)\nb = Queue('q', 2)\n"},
        ("the queue 'q' is declared with two concurrency limits, 1 and 2",),
    ),
    (
        {"a.py": "from sojourn import Queue, Rate as R\na = Queue('q', rate=R(1, 1))\nb = Queue('q', rate=R(2, 1))\n"},
        ("the queue 'q' is declared with two rates",),
    ),
]


@pytest.mark.parametrize(("files", "told"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_indexed_says_where_and_why(tmp_path: Path, files: dict[str, str], told: tuple[str, ...]) -> None:
    output = tmp_path / "manifest.json"
    ended = index(write(tmp_path / "sojourn", files), output)
    assert ended.returncode == 1
    assert not output.exists()
    for text in told:
        assert text in ended.stderr
    assert "sdk/manifest.py" not in ended.stderr and "importlib" not in ended.stderr


CHANGES = (
    "one.trigger()",
    "one.trigger_and_wait()",
    "tasks.batch_trigger('same', [1])",
    "async def go(): await AsyncClient().tasks.trigger('same')\nasyncio.run(go())",
    "wait.create_token()",
    "envvars.create('NAME', 'value')",
)


@pytest.mark.parametrize("change", CHANGES)
def test_what_would_be_done_at_every_import_is_refused(tmp_path: Path, change: str) -> None:
    imports = "import asyncio\nfrom sojourn import AsyncClient, envvars, tasks, wait\n"
    files = {"deep/app.py": f"{imports}{TASK}{change}\n"}
    ended = index(write(tmp_path / "project", files), tmp_path / "manifest.json")
    assert ended.returncode == 1
    assert "deep/app.py triggers or changes something while it is imported" in ended.stderr
    assert f"line {len(files['deep/app.py'].splitlines())}" in ended.stderr  # the user's own


def test_what_is_only_defined_may_trigger(tmp_path: Path) -> None:
    files = {"a.py": f"{TASK}def later():\n    one.trigger()\nif __name__ == '__main__':\n    later()\n"}
    assert index(write(tmp_path / "project", files), tmp_path / "manifest.json").returncode == 0


def test_a_thread_that_the_import_started_does_not_hold_it(tmp_path: Path) -> None:
    files = {"a.py": TASK + "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"}
    assert index(write(tmp_path / "project", files), tmp_path / "manifest.json").returncode == 0


def test_files_that_declare_hooks_for_more_than_their_own_tasks_are_told(tmp_path: Path) -> None:
    hooks = {
        "init.py": "from sojourn import tasks\n@tasks.on_start_attempt\ndef begun(): ...\n",
        "a.py": "import z_hooks\nfrom sojourn import task\n@task\ndef one(): ...\n@one.on_success\ndef own(): ...\n",
        "b.py": "from a import one\n@one.on_failure\ndef of_another_files_task(): ...\n",
        "installs.py": "import library\nlibrary.install()\n",
        "library.py": "from sojourn import tasks\ndef install():\n    tasks.on_complete(print)\n",
        "uses.py": "import tests.apart\n",
        "tests/apart.py": "from sojourn import tasks\n@tasks.on_cancel\ndef stopped(): ...\n",
        "z_hooks.py": "from sojourn import tasks\n@tasks.middleware\ndef around():\n    yield\n",
    }
    output = tmp_path / "manifest.json"
    assert index(write(tmp_path / "project", hooks), output).returncode == 0
    told = json.loads(output.read_text())
    assert told["hookFiles"] == ["b.py", "installs.py", "uses.py", "z_hooks.py"]
    assert to_pack(told) == {".sojourn/hooks": "b.py\ninstalls.py\nuses.py\nz_hooks.py\n"}


def test_a_project_whose_hooks_are_in_init_is_packed_as_it_is(manifest: dict[str, Any]) -> None:
    assert (manifest["hookFiles"], to_pack(manifest)) == ([], {})
