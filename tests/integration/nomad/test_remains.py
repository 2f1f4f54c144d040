"""What is ended with an agent: Nomad's own, and never who merely stands in its directory or looks into it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.stack import until

from sojourn.control_plane.embedded import nomad_remains

Run = dict[str, subprocess.Popen[bytes]]
_PATH = {"PATH": os.environ["PATH"]}


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """A directory as an agent leaves it, and a sibling that begins alike."""
    for name in ("nomad/alloc", "nomad/alloc-of-mine", "nomad-notes"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    return tmp_path / "nomad"


@pytest.fixture
def run() -> Iterator[Run]:
    started: Run = {}
    yield started
    for each in started.values():
        each.kill()
        each.wait()


def sleep(cwd: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "300"], env={**_PATH, **environment}, cwd=cwd)


def test_only_what_is_nomads_is_ended(agents: Path, run: Run) -> None:
    task, sibling = agents / "alloc" / "a" / "task", agents.parent / "nomad-notes"
    mentions = [sys.executable, "-c", "import time; time.sleep(300)", f"{agents}/alloc/a"]
    run |= {
        "a shell that was there": sleep(OLDPWD=str(agents), PWD=str(agents / "alloc")),
        "a shell that is there": sleep(cwd=agents / "alloc"),
        "who reads a file": subprocess.Popen(["tail", "-f", agents / "alloc" / "file"], env=_PATH),
        "who reads a sibling's": subprocess.Popen(["tail", "-f", sibling / "file"], env=_PATH),
        "who mentions it": subprocess.Popen(mentions, env=_PATH),
        "a task of another agent": sleep(NOMAD_TASK_DIR=f"{sibling}/alloc/a/task"),
        "a directory that begins alike": sleep(NOMAD_ALLOC_DIR=f"{agents}/alloc-of-mine/a"),
    }
    bystanders = set(run)
    run |= {
        "a task": sleep(NOMAD_TASK_DIR=str(task), HOME="/"),
        "what a task left": sleep(NOMAD_SECRETS_DIR=str(task)),
        # As Nomad calls itself: `nomad executor {"LogFile": …}`, `nomad logmon` in the agent's directory.
        "an executor": helper(agents.parent, "executor", f'{{"LogFile":"{task}/executor.out"}}'),
        "a log writer": helper(agents, "logmon"),
        "another agent's log writer": helper(sibling, "logmon"),
    }
    bystanders.add("another agent's log writer")
    until(lambda: all(named(each) for each in run.values()), 10, "all are there")
    assert nomad_remains.end_tasks(agents, agents / "alloc") == []
    ended = {name for name, each in run.items() if name not in bystanders and each.wait(60)}
    assert ended == run.keys() - bystanders
    assert {name for name, each in run.items() if each.poll() is None} == bystanders


def helper(cwd: Path, name: str, *told: str) -> subprocess.Popen[bytes]:
    """A script of that name, so that it is the first argument of the shell's."""
    (cwd / name).write_text("read forever\n")
    return subprocess.Popen(["sh", name, *told], stdin=subprocess.PIPE, env=_PATH, cwd=cwd)


def named(child: subprocess.Popen[bytes]) -> bool:
    return bool(Path(f"/proc/{child.pid}/cmdline").read_bytes())
