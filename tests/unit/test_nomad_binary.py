"""Nomad's program: found where it is named, on PATH or built; `make nomad` and the code mean the same version and place."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from sojourn.control_plane.embedded.nomad import VERSION, built_binary, find_binary

TOOL = Path(__file__).resolve().parents[2] / "tools" / "nomad"


def program(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Nomad."""
    monkeypatch.delenv("SOJOURN_NOMAD_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_it_is_looked_for_in_this_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_binary() is None
    built = program(nowhere / "cache" / "sojourn" / "nomad" / VERSION / "nomad")
    assert find_binary() == built == built_binary()
    on_path = program(nowhere / "bin" / "nomad")
    assert find_binary() == on_path
    named = program(nowhere / "own" / "nomad-1")
    monkeypatch.setenv("SOJOURN_NOMAD_BIN", str(named))
    assert find_binary() == named
    assert find_binary(str(built)) == built
    monkeypatch.setenv("SOJOURN_NOMAD_BIN", str(nowhere / "none"))
    assert find_binary() is None


def test_the_version_is_that_of_the_module() -> None:
    assert re.findall(r"^\tgithub\.com/hashicorp/nomad v(\S+)$", (TOOL / "go.mod").read_text(), re.MULTILINE) == [VERSION]


def make_nomad(cache: Path, *first_on_path: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*map(str, first_on_path), os.environ["PATH"]])
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PATH": path}
    return subprocess.run([TOOL / "build.sh"], env=environment, capture_output=True, text=True)


def test_a_built_one_is_printed(tmp_path: Path) -> None:
    built = program(tmp_path / "sojourn" / "nomad" / VERSION / "nomad")
    done = make_nomad(tmp_path, program(tmp_path / "bin" / "go", "exit 1").parent)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{built}\n", "")


@pytest.mark.parametrize(
    ("go", "told"), [("echo go1.25.7", "1.25.7"), ("echo go1.9", "1.9"), ("exit 127", "there is none")]
)
def test_a_go_that_is_too_old_is_told_in_one_line(tmp_path: Path, go: str, told: str) -> None:
    done = make_nomad(tmp_path, program(tmp_path / "bin" / "go", go).parent)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    assert f"make nomad: Go 1.25.8 or later builds Nomad and is not here ({told})" in done.stderr
    assert f"HashiCorp's release {VERSION}" in done.stderr


@pytest.mark.parametrize("go", ["go1.25.8", "go1.26.0"])
def test_a_build_that_fails_leaves_nothing(tmp_path: Path, go: str) -> None:
    fake = program(tmp_path / "bin" / "go", f'[ "$1" = env ] && echo {go} && exit 0; exit 1')
    done = make_nomad(tmp_path, fake.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert list((tmp_path / "sojourn" / "nomad" / VERSION).iterdir()) == []
