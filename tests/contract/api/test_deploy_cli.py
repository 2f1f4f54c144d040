"""`sojourn deploy` and `tasks list` over the real application: what there is afterwards, what is not, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sojourn.cli import profile
from sojourn.cli.main import main
from sojourn.sdk.client import Client
from tests.contract.api.test_acting_sdk import client, straight

__all__ = ["client", "straight"]

FIRST = """
from sojourn import Retry, task

@task(schedule="0 6 * * *", retry=Retry(max_attempts=7))
def early(payload: int): ...

@task
def late(payload): ...
"""
Typed = Callable[..., str]


@pytest.fixture
def typed(client: Client, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Runs a command as a process would; what it has written to the descriptors."""
    monkeypatch.setattr(profile, "client", lambda environment, data_dir: client)

    def run(*words: str, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main.main(list(words), "sojourn")
        told = capfd.readouterr()
        assert ended.value.code == code, told
        return told.out if code == 0 else told.err

    return run


def project(directory: Path, **files: str) -> str:
    directory.mkdir()
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    return str(directory)


def test_tasks_that_are_gone_are_named(typed: Typed, tmp_path: Path) -> None:
    first = typed("deploy", project(tmp_path / "first", jobs=FIRST))
    assert "is now current in dev" in first and "task/late" in first
    other = project(tmp_path / "other", jobs="from sojourn import task\n@task\ndef late(payload): ...\n")
    assert "no longer there: early; their new runs wait" in typed("deploy", other)
    again = json.loads(typed("deploy", other, "--json"))
    assert (again["isCached"], again["removedTasks"]) == (True, [])


def test_tasks_of_the_current_version(typed: Typed, tmp_path: Path) -> None:
    typed("deploy", project(tmp_path / "first", jobs=FIRST))
    early, late = typed("tasks", "list").splitlines()[1:]
    assert early.split() == ["early", "task/early", "small-1x", "7", "0", "6", "*", "*", "*", "UTC", "jobs.py"]
    assert late.split()[0] == "late"
    told = {each["id"]: each for each in json.loads(typed("tasks", "list", "--json"))}
    assert told["early"]["payloadSchema"] == {"type": "integer"} and told["early"]["schedule"]["cron"] == "0 6 * * *"


TASK = "from sojourn import task\n@task(id='same')\ndef one(): ...\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a": TASK, "b": TASK}, "two tasks have the id 'same'"),
        ({"a": TASK.replace("id='same'", "machine='huge'")}, "there is no machine"),
        ({"a": TASK.replace("id='same'", "retri=3")}, "@task has no option"),
        ({"a": "1 / 0\n"}, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_deployed_is_told_once(typed: Typed, tmp_path: Path, files: dict[str, str], said: str) -> None:
    told = typed("deploy", project(tmp_path / "refused", **files), code=2)
    assert told.startswith("sojourn: ") and told.count(said) == 1
    assert "sojourn/sdk" not in told and "/sdk/" not in told, "its own lines help nobody"
    assert "refused/" in told
