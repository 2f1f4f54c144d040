"""Real stacks: one for the tests that do it no harm, and as many as a test starts for itself.

The one is there in two shapes: as it is, and with every attempt frozen once, by one executor. `SHAPE=frozen` gives those of
single tests that shape, too.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.nomad_stack import NomadStack, Starts
from tests.support.shapes import SHAPES, needs, project_in
from tests.support.stack import Stack

from sojourn.control_plane.embedded.nomad import NomadAgent

PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="module")
def gates() -> Iterator[Path]:
    """A directory whose files tasks of `stack` see, also out of a sandbox."""
    with tempfile.TemporaryDirectory(prefix="sojourn-gates-", dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module", params=["plain", "frozen"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gates: Path) -> Iterator[Stack]:
    needs(request.param)
    made = Stack(**SHAPES[request.param], SOJOURN_SANDBOX_READABLE=str(gates))
    made.up()
    made.deploy(project_in(request.param, PROJECT, tmp_path_factory.mktemp("shape")))
    yield made
    made.down()


@pytest.fixture
def make() -> Iterator[Callable[..., Stack]]:
    """Stacks that are not started yet."""
    made: list[Stack] = []

    def one(**settings: str) -> Stack:
        made.append(Stack(**settings))
        return made[-1]

    yield one
    for stack in made:
        stack.down()


@pytest.fixture
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Stack]]:
    """Starts a stack of the test's own, with the settings that it is given and the project deployed."""
    made: list[Stack] = []
    shape = os.environ.get("SHAPE", "plain")
    needs(shape)
    project = project_in(shape, PROJECT, tmp_path_factory.mktemp("shape"))

    def start(**settings: str) -> Stack:
        stack = Stack(**{**SHAPES[shape], **settings})
        made.append(stack)
        stack.up()
        stack.deploy(project)
        return stack

    yield start
    for stack in made:
        stack.down()


@pytest.fixture
def own_nomad_stack(nomad_agent: NomadAgent) -> Iterator[Starts]:
    """Starts a stack of the test's own, with the settings that it is given and the project deployed."""
    made: list[NomadStack] = []

    def start(**settings: str) -> NomadStack:
        stack = NomadStack(nomad_agent, **settings)
        made.append(stack)
        stack.up()
        stack.deploy(PROJECT)
        return stack

    yield start
    for stack in made:
        stack.down()
