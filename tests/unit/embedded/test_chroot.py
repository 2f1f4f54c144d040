"""The root of tasks by the driver exec: links alone beside what Nomad copies, and this interpreter in it."""

from __future__ import annotations

import os
from pathlib import Path

from sojourn.control_plane.embedded import chroot


def test_an_interpreter_with_this_package_is_in_it(tmp_path: Path) -> None:
    found = chroot.environment(tmp_path / "skeleton")
    assert chroot.environment(tmp_path / "skeleton") == found, "the next start finds what the last one left"
    there = set(found.values())
    link = tmp_path / "skeleton" / chroot.PYTHON.relative_to("/")
    assert os.path.normpath(chroot.PYTHON.parent / os.readlink(link)) in there
    assert {"/", "/usr/bin", "/opt/sojourn/code/sojourn/executor_shim", "/opt/sojourn/code/sojourn/sdk"} <= there
    assert not any("test" in Path(each).parts for each in there)


def test_nothing_of_a_configuration_or_a_home_is_in_it(tmp_path: Path) -> None:
    found = chroot.environment(tmp_path / "skeleton")
    assert not {"/etc", "/etc/shadow", "/root", "/home", "/usr", "/usr/lib", "/var"} & set(found)
    assert all(os.path.exists(each) for each in found)
