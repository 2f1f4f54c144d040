"""Schedules on a whole stack: a tick becomes a run that is carried out, and the page's commands do what it says."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg2
from tests.support.curl import needs_curl
from tests.support.stack import Stack, until

from sojourn.sdk.run import Runs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "schedules.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_a_tick_is_carried_out(stack: Stack) -> None:
    client = stack.client()
    made = client.create_schedule({"task": "echo", "cron": "* * * * *", "deduplicationKey": "each-minute"})
    with closing(psycopg2.connect(stack.database_url)) as connection, connection.cursor() as cursor:
        # The minute that has begun already: nobody has to wait for the next one.
        cursor.execute("UPDATE schedules SET next_tick = date_trunc('minute', now()), due_at = date_trunc('minute', now())")
        connection.commit()
    run = until(lambda: next(iter(Runs(client).list(schedule=made["id"])), None), 30, "the tick fires")
    result = Runs(client).result(run.id, timeout=180)
    client.delete_schedule(made["id"])
    assert result.ok and result.output["scheduleId"] == made["id"] and len(result.output["upcoming"]) == 5
    until(lambda: stack.violations() == [], 20, "every invariant holds")


def test_the_page_s_commands(stack: Stack, tmp_path: Path) -> None:
    needs_curl()
    project, where = tmp_path / "project", tmp_path / "shell"
    project.mkdir()
    where.mkdir()
    (project / "jobs.py").write_text(blocks("python")[0])
    stack.deploy(project, "prod")
    client = stack.client("prod")
    found = {each["task"]: each for each in client.list_schedules()["data"]}
    assert set(found) == {"clean-up", "weekday-report"} and {each["type"] for each in found.values()} == {"DECLARATIVE"}
    settings = {
        "SOJOURN_API_URL": stack.found["api_url"],
        "SOJOURN_SECRET_KEY": stack.found["environments"]["prod"]["secret_key"],
    }
    script = "\n".join(["set -e", *blocks("shell")])
    done = subprocess.run(
        ["bash", "-c", script], cwd=where, env=os.environ | settings, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0 and '"code"' not in done.stdout, done.stdout + done.stderr
    (made,) = [each for each in client.list_schedules()["data"] if each["type"] == "IMPERATIVE"]
    assert (made["deduplicationKey"], made["active"]) == ("weekdays", False)
    assert '{"ticks":22,"created":22}' in done.stdout.replace(" ", "")
    first = list(Runs(client).list(schedule=made["id"]))[-1]
    result = Runs(client).result(first.id, timeout=180)
    assert result.unwrap() == "the beginning to 2026-01-01"
