"""Real stacks: one for the tests that do it no harm, and as many as a test starts for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.nomad_stack import NomadStack, Starts
from tests.support.stack import Stack

from sojourn.control_plane.embedded.nomad import NomadAgent

PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    made = Stack()
    made.up()
    made.deploy(PROJECT)
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
def own_stack() -> Iterator[Callable[..., Stack]]:
    """Starts a stack of the test's own, with the settings that it is given and the project deployed."""
    made: list[Stack] = []

    def start(**settings: str) -> Stack:
        stack = Stack(**settings)
        made.append(stack)
        stack.up()
        stack.deploy(PROJECT)
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
