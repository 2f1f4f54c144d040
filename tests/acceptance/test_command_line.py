"""What the command line answers: exit codes, and errors in a line."""

from __future__ import annotations

import json
from pathlib import Path

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
        (["runs", "why", "run_00000000000000000000000000"], 4, "run"),
        (["runs", "reschedule", "run_00000000000000000000000000", "soon"], 3, "DELAY"),
        (["queues", "get", "nowhere"], 4, "queue"),
        (["queues", "pause", "task/nowhere"], 4, "queue"),
        (["queues", "limit", "task/echo"], 2, "--reset"),
        (["queues", "limit", "task/echo", "99999"], 3, "limit"),
        (["queues", "limit", "task/echo", "--reset"], 0, ""),
        (["queues", "rate", "task/echo", "1", "--per", "soon"], 3, "period"),
        (["queues", "rate", "task/echo"], 2, "--reset"),
        (["fsck"], 0, ""),
        (["fsck", "--repair"], 0, ""),
        (["trigger", "echo", "--delay", "10"], 3, "delay"),
        (["runs", "list", "--from", "1764262800"], 3, "1769860800000"),
        (["runs", "cancel", "--tag", "nobodys", "--yes", "--from", "1764262800", "--detach"], 3, "1769860800000"),
        (["limits", "set", "--env", "dev", "--weight", "nan"], 2, "weight"),
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


def test_who_runs_the_stack_needs_no_key(stack: Stack):
    made = json.loads(stack.cli("keys", "create", "--name", "rescue", "--env", "prod", "--direct", "--json").stdout)
    assert made["id"] in stack.cli("keys", "list", "--env", "prod", "--direct").stdout
    assert stack.cli("keys", "revoke", made["id"], "--env", "prod", "--direct").stdout == f"{made['id']} is revoked\n"
    refused = stack.cli("keys", "create", "--scope", "see:runs", "--direct", check=False)
    assert (refused.returncode, "no scope" in refused.stderr, "Traceback" in refused.stderr) == (2, True, False)
    rotated = stack.cli("keys", "rotate", "--env", "prod", "--direct").stdout.split()[0]
    status = json.loads(stack.cli("status", "--json").stdout)
    assert status["environments"]["prod"]["secret_key"] == rotated
    assert "runs" not in stack.cli("runs", "list", "--env", "prod", check=False).stderr
    token = json.loads(stack.cli("access-tokens", "create", "--name", "laptop", "--json").stdout)
    assert token["token"].startswith("tr_pat_") and token["id"] in stack.cli("access-tokens", "list").stdout
    assert "revoked" in stack.cli("access-tokens", "revoke", token["id"]).stdout


def test_a_new_environment_takes_code_and_runs(stack: Stack, tmp_path: Path):
    key = stack.cli("environments", "create", "rehearsal", "--kind", "staging").stdout.strip()
    assert key.startswith("tr_rehearsal_") and "rehearsal" in stack.cli("environments", "list").stdout
    code = "from sojourn import context, task\n@task\ndef where(): return context.environment.type\n"
    (tmp_path / "jobs.py").write_text(code)
    stack.cli("deploy", str(tmp_path), "--env", "rehearsal")
    assert "STAGING" in stack.cli("trigger", "where", "--env", "rehearsal", "--wait").stdout
    again = stack.cli("environments", "create", "rehearsal", check=False)
    assert (again.returncode, "already" in again.stderr) == (2, True)


def test_a_queue_is_paused_and_limited_and_a_run_says_so(stack: Stack):
    stack.cli("queues", "pause", "task/echo")
    run = stack.cli("trigger", "echo", "--payload", "1").stdout.strip()
    assert "PAUSED: the queue task/echo is paused" in stack.cli("runs", "why", run).stdout
    assert json.loads(stack.cli("runs", "why", run, "--json").stdout)["reasons"][0]["scope"] == "queue"
    assert "1 queued" in stack.cli("queues", "get", "task/echo").stdout
    assert "limit 2 (declared: none), paused" in stack.cli("queues", "limit", "task/echo", "2").stdout
    listed = json.loads(stack.cli("queues", "list", "--json", "--limit", "100").stdout)["data"]
    assert [each["paused"] for each in listed if each["name"] == "echo"] == [True]
    assert "task/echo" in stack.cli("queues", "list").stdout
    assert "6 starts per 1m" in stack.cli("queues", "rate", "task/echo", "6").stdout
    stack.cli("queues", "rate", "task/echo", "--reset")
    stack.cli("queues", "limit", "task/echo", "--reset")
    stack.cli("queues", "resume", "task/echo")
    assert stack.cli("trigger", "echo", "--payload", "2", "--wait").returncode == 0


def test_a_delayed_run_is_given_another_date(stack: Stack):
    run = stack.cli("trigger", "echo", "--payload", "1", "--delay", "1h").stdout.strip()
    assert "DELAYED" in stack.cli("runs", "why", run).stdout
    assert run in stack.cli("runs", "reschedule", run, "2h").stdout
    stack.cli("runs", "cancel", run)


def test_what_a_rate_has_shut_runs_when_its_time_has_come(stack: Stack):
    """Opened by the scheduler, since nothing else happens meanwhile."""
    stack.cli("queues", "rate", "task/echo", "20", "--per", "10s", "--burst", "1")
    made = [json.loads(stack.cli("trigger", "echo", "--payload", "1", "--json").stdout)["id"] for _ in range(4)]
    stack.cli("trigger", "echo", "--payload", "2", "--wait")
    found = [json.loads(stack.cli("runs", "get", run, "--json").stdout)["status"] for run in made]
    assert set(found) <= {"COMPLETED", "EXECUTING", "DEQUEUED"}, "they were before the one that has run"
    stack.cli("queues", "rate", "task/echo", "--reset")
