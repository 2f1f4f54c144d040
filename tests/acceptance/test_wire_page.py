"""docs/wire.md: the exchange that it begins with, in a real shell against a real stack, is answered as the page says."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.support.curl import needs_curl
from tests.support.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
#: What differs from time to time.
_OWN = ("id", "usage")


def documents(text: str) -> list[dict[str, Any]]:
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:]
    return found


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_the_page_s_exchange(stack: Stack, tmp_path: Path) -> None:
    needs_curl()
    stack.deploy(ROOT / "examples", "prod")
    settings = {
        "SOJOURN_API_URL": stack.found["api_url"],
        "SOJOURN_SECRET_KEY": stack.found["environments"]["prod"]["secret_key"],
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block("shell")],
        cwd=tmp_path,
        env={**stack.environment, **settings},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    answers = [json.loads((tmp_path / "run.json").read_text()), *documents(done.stdout)]
    for answer, told in zip(answers, documents(block("json")), strict=True):
        assert {name: answer[name] for name in told if name not in _OWN} == {
            name: value for name, value in told.items() if name not in _OWN
        }
    assert answers[0]["id"] == answers[1]["id"] == answers[2]["id"]
