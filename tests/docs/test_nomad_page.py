"""The page about Nomad says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sojourn.control_plane import cluster_facts as facts
from sojourn.control_plane.config import SETTINGS
from sojourn.control_plane.embedded import nomad_configuration
from sojourn.control_plane.embedded.nomad import VERSION
from sojourn.control_plane.embedded.nomad_configuration import Ports
from sojourn.control_plane.embedded.nomad_rights import POLICY

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "nomad.md").read_text(encoding="utf-8")
PORTS = Ports(1, 2, 3, 4)


def blocks() -> list[str]:
    return re.findall(r"```hcl\n(.*?)```", PAGE, re.DOTALL)


def test_the_policy_is_the_one_that_is_shipped() -> None:
    shipped = POLICY.read_text(encoding="utf-8").partition("\n\n")[2]
    assert shipped in blocks()


@pytest.mark.parametrize(
    "setting", [setting for setting in SETTINGS if setting.scheduler_only], ids=lambda each: each.variable
)
def test_every_variable_is_explained(setting: object) -> None:
    assert f"`{setting.variable}`" in PAGE  # type: ignore[attr-defined]


def test_versions_are_those_of_the_code() -> None:
    for version in (facts.LEAST, facts.GOOD):
        assert ".".join(map(str, version)) in PAGE
    assert f"builds Nomad {VERSION}" in PAGE


def values(block: str) -> dict[str, str]:
    return dict(re.findall(r'^  (\w+) += "?([^"\n #]+)"?', block, re.MULTILINE))


def test_what_is_advised_for_garbage_is_what_the_private_one_has() -> None:
    server = nomad_configuration.server(Path("/x"), PORTS, "global")["server"]
    client = nomad_configuration.client(Path("/x"), Path("/y"), PORTS, "global", ("raw_exec",), {})["client"]
    for name, had in (("server", server), ("client", client)):
        advised = values(next(block for block in blocks() if block.startswith(name)))
        assert advised
        assert advised == {key: str(had[key]) for key in advised}


def test_every_line_of_the_doctor_is_explained() -> None:
    source = Path(facts.__file__).read_text() + Path(facts.__file__).with_name("cluster.py").read_text()
    table = PAGE.partition("## What `sojourn doctor` looks at")[2]
    first_cells = " ".join(re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE))
    for line in set(re.findall(r'Finding\(\s*f?"([a-zA-Z ]+?)(?: \{name\})?"', source)):
        assert line in first_cells, line
