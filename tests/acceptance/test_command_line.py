"""What the command line answers: exit codes, and errors in a line."""

from __future__ import annotations

import pytest
from tests.support.stack import Stack


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["runs", "get", "run_00000000000000000000000000"], 4, "run"),
        (["runs", "list", "--limit", "0"], 2, "limit"),
        (["trigger", "echo", "--payload", "{"], 2, "JSON"),
        (["trigger", "always-fails", "--wait"], 1, ""),
        (["trigger", "echo", "--payload", "1", "--wait"], 0, ""),
        (["trigger", "echo", "--ttl", "soon"], 3, "ttl"),
        (["runs", "list", "--env", "nowhere"], 2, "nowhere"),
        (["fsck"], 0, ""),
    ],
)
def test_the_exit_codes_of_the_command_line(stack: Stack, arguments: list[str], code: int, says: str):
    done = stack.cli(*arguments, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert says in done.stderr
    assert "Traceback" not in done.stderr
