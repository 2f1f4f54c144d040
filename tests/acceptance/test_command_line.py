"""What the command line answers: exit codes, and errors in a line."""

from __future__ import annotations

import json

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
        (["tokens", "retrieve", "waitpoint_00000000000000000000000000"], 4, "token"),
        (["tokens", "complete", "waitpoint_00000000000000000000000000"], 4, "token"),
        (["tokens", "complete", "waitpoint_00000000000000000000000000", "--data", "{"], 2, "JSON"),
        (["tokens", "create", "--timeout", "soon"], 3, "timeout"),
        (["tokens", "list", "--status", "nope"], 3, "TIMED_OUT"),
        (["batches", "get", "batch_00000000000000000000000000"], 4, "batch"),
        (["batches", "results", "batch_00000000000000000000000000"], 4, "batch"),
        (["batches", "results", "batch_00000000000000000000000000", "--after", "-1"], 2, "after"),
        (["fsck"], 0, ""),
    ],
)
def test_the_exit_codes_of_the_command_line(stack: Stack, arguments: list[str], code: int, says: str):
    done = stack.cli(*arguments, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_token_from_its_making_to_its_completion(stack: Stack):
    made = stack.cli("tokens", "create", "--tag", "typed", "--timeout", "1h").stdout.split()
    token, url = made
    assert url.startswith(stack.found["api_url"]) and token in url
    assert token in stack.cli("tokens", "list", "--tag", "typed", "--status", "waiting").stdout
    done = stack.cli("tokens", "complete", token, "--data", '{"by": "hand"}').stdout
    assert done.strip() == f"{token} is COMPLETED"
    found = json.loads(stack.cli("tokens", "retrieve", token, "--json").stdout)
    assert (found["status"], json.loads(found["output"]), found["tags"]) == ("COMPLETED", {"by": "hand"}, ["typed"])
    assert "COMPLETED" in stack.cli("tokens", "retrieve", token).stdout
