"""Guides from top to bottom: every line that one is to type is typed, in a real shell against a real stack."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.curl import needs_curl
from tests.support.stack import Stack

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: What guides say that there is.
PROJECT = """
from sojourn import Queue, task
emails = Queue("emails", concurrency_limit=5)
@task(queue=emails)
def import_file(payload=None): return payload
"""
#: What is of the whole stack, which other tests have, too; and what acts on many runs, which is for a person at a terminal.
_LEFT_OUT = ("sojourn limits", "sojourn runs cancel", "sojourn runs replay")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", ["batches.md", "queues.md", "runs.md"])
def test_what_a_guide_types(stack: Stack, tmp_path: Path, page: str) -> None:
    needs_curl()
    project, where = tmp_path / "project", tmp_path / "shell"
    project.mkdir()
    where.mkdir()
    (project / "others.py").write_text(PROJECT)
    declared = [block for block in blocks(page, "python") if block.startswith("# tasks/")]
    (project / "page.py").write_text("\n".join(declared))
    stack.deploy(project, "prod")
    client = stack.client("prod")
    run = client.trigger("import-file")["id"]
    action = client.create_bulk_action({"action": "replay", "runIds": [run]})["id"] if page == "runs.md" else ""
    script = "\n".join(blocks(page, "shell"))
    # Ids that guides make up stand for real ones.
    script = re.sub(r"run_0123\w+", run, re.sub(r"bulk_0123\w+", action, script))
    script = "\n".join(line for line in script.splitlines() if not line.startswith(_LEFT_OUT))
    settings = {
        "SOJOURN_API_URL": stack.found["api_url"],
        "SOJOURN_SECRET_KEY": stack.found["environments"]["prod"]["secret_key"],
        "PATH": f"{Path(sys.executable).parent}:{stack.environment['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=where,
        env={**stack.environment, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error"' not in done.stdout and '"nextStep"' not in done.stdout, done.stdout
    if page == "batches.md":
        assert '"itemsAccepted":2' in done.stdout and '"sealed":true' in done.stdout
