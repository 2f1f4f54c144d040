"""Why a node cannot freeze, in the order in which somebody would mend it; and that it can."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sojourn.executor_shim.freezing import criu

_THERE = "/proc/self/status"


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One that can; its criu is a program that tells a version."""
    program = tmp_path / "criu"
    told(program, "4.1.1")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("SOJOURN_CRIU", str(program))
    monkeypatch.setattr(criu, "_KEEPS_NUMBERS", _THERE)
    monkeypatch.setattr(criu, "_KEEPS_CLOCKS", _THERE)
    monkeypatch.setattr(criu, "_is_there", lambda name: True)
    criu.version.cache_clear()
    return program


def told(program: Path, version: str) -> None:
    """A criu of that version, as it tells it."""
    program.write_text(f"#!/bin/sh\necho Version: {version}\necho GitID: v{version}\n")
    program.chmod(0o755)


def test_a_node_that_has_everything() -> None:
    assert criu.obstacle() is None


@pytest.mark.parametrize(
    ("probe", "lacks"), [("_KEEPS_NUMBERS", "CONFIG_CHECKPOINT_RESTORE"), ("_KEEPS_CLOCKS", "time namespaces (Linux 5.6)")]
)
def test_a_kernel_that_lacks_something(monkeypatch: pytest.MonkeyPatch, probe: str, lacks: str) -> None:
    monkeypatch.setattr(criu, probe, "/proc/self/no-such-file")
    assert criu.obstacle() == f"this kernel lacks {lacks}"


def test_another_system_and_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert criu.obstacle() == "the shim does not run as root"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert criu.obstacle() == "only Linux has what freezing needs"


def test_a_criu_that_is_none(node: Path) -> None:
    node.write_text("#!/bin/sh\nexit 127\n")
    assert criu.obstacle() == f"{node} does not run: `{node} --version` says why"
    node.unlink()
    assert criu.obstacle() == f"SOJOURN_CRIU={node} is no program"


@pytest.mark.parametrize(("version", "is_enough"), [("3.17.1", False), ("4.0", False), ("4.1", True), ("4.10", True)])
def test_a_criu_has_to_be_new_enough(node: Path, version: str, is_enough: bool) -> None:
    told(node, version)
    why = criu.obstacle()
    if is_enough:
        assert why is None
    else:
        assert why is not None and why.startswith(f"{node} is criu {version}, and 4.1 or later is needed")


def test_no_criu_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SOJOURN_CRIU")
    monkeypatch.setattr(criu, "find_criu", lambda: None)
    assert criu.obstacle() == f"there is no criu 4.1 or later: {criu.HOW}"


def test_a_python_that_lacks_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(criu, "_is_there", lambda name: name != "zstandard")
    assert criu.obstacle() == "Python lacks zstandard: pip install 'sojourn[freezing]'"
    monkeypatch.setattr(criu, "_is_there", lambda name: False)
    assert criu.obstacle() == "Python lacks cryptography and zstandard: pip install 'sojourn[freezing]'"
