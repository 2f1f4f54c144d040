"""The guides: every Python block runs, every test in one passes, every link leads somewhere, every option is told."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from sojourn import Schedule, ScheduledPayload, Token, TokenResult, testing, wait
from sojourn.sdk import default_client as clients
from sojourn.sdk.context import _PARTS
from sojourn.sdk.errors import BY_STATUS
from sojourn.sdk.hooks import NAMES
from sojourn.sdk.options import Retry
from sojourn.sdk.protocol import MACHINES, RunStatus
from sojourn.sdk.schedule_state import Backfill, ScheduleState
from sojourn.sdk.tokens import TokenState
from sojourn.sdk.trigger_options import TRIGGER_OPTIONS
from tests.unit.sdk.test_client import Script

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
GUIDES = (
    "tasks.md", "triggering.md", "testing.md", "waiting.md", "schedules.md", "batches.md", "keys.md",
    "environment-variables.md", "queues.md", "runs.md", "webhooks.md",
)  # fmt: skip
TEXTS = {name: (DOCS / name).read_text(encoding="utf-8") for name in GUIDES}
PAGES = {**TEXTS, "README.md": (ROOT / "README.md").read_text(encoding="utf-8")}
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# ([\w/]+)\.py\b")
#: What is deployed in the guides: everything else is of an app, or of its tests.
_PROJECT = "tasks"


class Block(NamedTuple):
    """A block of Python: the file that its first line names, else that of the block before it; its first line's number."""

    file: str
    text: str
    line: int


def blocks(name: str) -> Iterator[Block]:
    """A page's blocks in order."""
    file = ""
    for found in _BLOCK.finditer(PAGES[name]):
        named = _FILE.match(found[1])
        file = named[1] if named else file
        yield Block(file, found[1], PAGES[name][: found.start(1)].count("\n"))


class Guide(dict[str, Any]):
    """What a page's blocks define together, each run as a part of its file, which the others can import."""

    def __init__(self, name: str, monkeypatch: pytest.MonkeyPatch):
        super().__init__()
        self._modules: dict[str, ModuleType] = {}
        self._monkeypatch = monkeypatch
        self.blocks = list(blocks(name))
        self._path = str(DOCS / name)
        self._module("init")  # every project may have one

    def play(self, found: Iterable[Block] | None = None) -> Guide:
        """Runs blocks, all unless given; each at its own lines of the page."""
        for block in self.blocks if found is None else found:
            module = self._modules.get(block.file) or self._module(block.file)
            exec(compile("\n" * block.line + block.text, self._path, "exec", dont_inherit=True), vars(module))
            self.update(vars(module))
        return self

    def _module(self, file: str) -> ModuleType:
        name = file.removeprefix(f"{_PROJECT}/")  # whoever imports the project has its directory on the path
        module = self._modules[file] = ModuleType(name)
        self._monkeypatch.setitem(sys.modules, name, module)
        return module


@pytest.fixture
def guide(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Guide:
    """The page that the test's name names."""
    name = request.node.name.removeprefix("test_the_guide_to_")
    return Guide(f"{name}.md", monkeypatch)


def test_the_guide_to_tasks(guide: Guide, lines: Any) -> None:
    guide.play()
    assert testing.run(guide["hello"], {"name": "Ada"}).output == "Hello, Ada"
    order = {"id": 1, "placed_at": "2026-01-01T00:00:00Z", "items": [{"name": "a", "price": 1.5}] * 2}
    assert testing.run(guide["total"], order).output == 3.0
    wrong = {**order, "items": [{"name": "a", "price": 1}] * 2 + [{"name": "b", "price": "x"}]}
    message = testing.run(guide["total"], wrong).error["message"]
    assert message == 'payload.items[2].price: expected number, got "x"'
    assert f"`{message}`" in TEXTS["tasks.md"]
    assert testing.run(guide["charge"], {"amount": -1}).attempts == 1
    assert testing.run(guide["charge"], {"amount": 0}).output == {"charged": False}
    assert testing.run(guide["sync"], {"reason": "gone"}).attempts == 1
    assert testing.run(guide["sync"], {"reason": "busy"}).delays == (30, 30)
    assert testing.run(guide["save"], {}).output == "a connection for run_test"
    assert testing.run(guide["report"], {}).output == "run_test, attempt 1, test"
    assert [line[1] for line in testing.run(guide["send_email"], {"to": "Ada"}).logs] == ["closed", "sent"]
    assert testing.run(guide["import_rows"], [1]).logs[0] == ("INFO", "importing", {"rows": 1})
    assert testing.run(guide["crunch"], {"rounds": 3}).ok
    copied = testing.run(guide["copy_rows"], [7, 8])
    assert copied.unwrap() == 2
    assert copied.metadata == {"step": "copying", "rows": {"done": 2, "of": 2}, "copied": 2}


def test_the_guide_to_triggering(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    configuring, *others = guide.blocks
    before = clients.use(None)
    guide.play([configuring])
    assert clients.default().api_url == "http://127.0.0.1:3030"
    clients.use(before)
    with testing.Platform():
        guide.play(others)
    told = capsys.readouterr().out
    assert "Hello, Ada" in told
    assert "trigger has no option 'idempotencyKey': did you mean 'idempotency_key'?" in told


def test_the_guide_to_batches(guide: Guide, capsys: pytest.CaptureFixture[str]) -> None:
    with testing.Platform() as platform:
        guide.play()
        assert testing.run(guide["send_all"], ["a", "b"]).output == 2
    assert {options.get("priority") for options in platform.options.values()} == {None, 60}
    assert "COMPLETED" in capsys.readouterr().out


def test_the_guide_to_testing(guide: Guide) -> None:
    guide.play()
    tests = [name for name in guide if name.startswith("test_")]
    assert len(tests) == 15
    for name in tests:
        guide[name]()


def test_the_guide_to_waiting(guide: Guide) -> None:
    guide.play()
    reminded = testing.run(guide["remind"], {"name": "Ada"})
    assert (reminded.output, reminded.waited[0]) == ("reminded", wait.delay(days=2, hours=12))
    assert [line[1] for line in reminded.logs] == ["waiting", "reminding", "waiting"]
    assert guide["connections"] == ["for Ada"]
    published = testing.run(guide["publish"], {}, tokens={"approval": {"by": "Ada"}})
    assert published.output == "published, approved by Ada"
    assert testing.run(guide["publish"], {}).output.startswith("not published: Nobody completed")
    with testing.Platform():
        token = wait.create_token()
        guide["approve"](token.id, "Ada")
        assert wait.retrieve_token(token).output == {"by": "Ada"}
    assert testing.run(guide["import_picture"], {"url": "a.png"}).output == {"url": "a.png", "width": 100}
    assert len(testing.run(guide["import_album"], ["a.png", "b.png"]).output) == 3
    for name in ("order", "order_quickly"):
        done = testing.run(guide[name], {"picture": "a.png"}, tokens={"payment": 5})
        assert done.output == "paid 5, packed a.png"
    assert testing.run(guide["follow_up"], {}).output == "followed up"


def test_the_guide_to_schedules(guide: Guide) -> None:
    guide.play()
    assert testing.run(guide["clean_up"], {"timestamp": "2026-01-02T06:00:00.000Z"}).output == "clean"
    guide["test_the_first_report"]()
    payload = {
        "scheduleId": "sched_1", "type": "DECLARATIVE", "timezone": "Europe/Berlin",
        "upcoming": ["2026-01-05T07:30:00.000Z"], "timestamp": "2026-01-02T07:30:00.000Z",
        "lastTimestamp": "2026-01-01T07:30:00.000Z",
    }  # fmt: skip
    assert testing.run(guide["weekday_report"], payload).output == "2026-01-01 to 2026-01-02"


def test_the_guide_to_keys(guide: Guide) -> None:
    key = {"id": "key_1", "hint": "h", "isRoot": False, "status": "ACTIVE", "createdAt": "2030-01-01T00:00:00Z", "key": "s"}
    script = Script((200, key), (200, {"token": "a.b.c"}))
    before = clients.use(script.client())
    try:
        guide.play()
        assert guide["key_for"]("billing") == "s"
        assert guide["token_for"]("run_1") == guide["token_for_team"]("a") == guide["upload_token"]() == "a.b.c"
    finally:
        clients.use(before)
    asked = [json.loads(request.body or b"{}") for request in script.sent]
    assert asked[0]["scopes"] == ["trigger:tasks:send-mail", "read:runs"]
    assert [each["scopes"] for each in asked[1:]] == [
        ["read:runs:run_1"], ["read:tags:team:a", "read:tasks:report"], ["trigger:tasks:import-picture"],
    ]  # fmt: skip
    assert asked[3]["oneTimeUse"] is True


def test_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    guide = Guide("README.md", monkeypatch)
    with testing.Platform() as platform:
        guide.play()
    assert [run.output for run in platform.runs.values()] == [{"order": number, "paid": True} for number in (17, 18)]
    assert testing.run(guide["order"], 3.5, tokens=lambda _: {"by": "Ada"}).output == "3.50 approved by Ada"


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_which_file_it_is_of(name: str) -> None:
    assert all(block.file for block in blocks(name))


@pytest.mark.parametrize("name", PAGES)
def test_what_is_deployed_in_a_page_can_be(name: str, tmp_path: Path) -> None:
    """In a process of its own, as deploying does: nothing is triggered by an import, and files find each other."""
    files: dict[str, str] = {}
    for block in blocks(name):
        if block.file.startswith(f"{_PROJECT}/"):
            files[block.file] = files.get(block.file, "") + block.text
    for file, text in files.items():
        path = tmp_path / f"{file}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "sojourn.sdk.index", str(tmp_path / _PROJECT), str(tmp_path / "manifest.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60) if files else None
    assert done is None or done.returncode == 0, done.stderr


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https:)([^)]+)\)", TEXTS[name]):
        file, _, anchor = target.partition("#")
        path = DOCS / (file or name)
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tasks.md", NAMES),
        ("tasks.md", Retry.fields),
        ("tasks.md", tuple(MACHINES)),
        ("tasks.md", tuple(f"context.{part}" for part in _PARTS)),
        ("tasks.md", tuple(f for kind in _PARTS.values() for f in kind.__annotations__ if f != "cents_per_ms")),
        ("triggering.md", tuple(TRIGGER_OPTIONS)),
        ("triggering.md", tuple(RunStatus)),
        ("triggering.md", tuple(kind.__name__ for kind in BY_STATUS.values())),
        ("testing.md", testing.Ended.fields[5:]),
        ("testing.md", tuple(f"testing.{name}" for name in ("TIMES_OUT", "NobodyCompletesError", "Platform"))),
        ("schedules.md", (*ScheduleState.fields, *Backfill.fields, *Schedule.fields)),
        ("schedules.md", tuple(ScheduledPayload.__annotations__)),
        ("waiting.md", tuple(TokenState.fields)),
        ("waiting.md", (*Token.fields, *TokenResult.fields)),
        ("waiting.md", ("need", "conditions", "kind")),
    ],
)
def test_everything_is_told(name: str, words: tuple[str, ...]) -> None:
    missing = [word for word in words if f"`{word}`" not in TEXTS[name]]
    assert not missing
