"""docs/tokens.md: every line that one is to type does what the page says, in a real shell against a real stack."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.curl import needs_curl
from tests.support.stack import Stack

from sojourn import wait
from sojourn.sdk.errors import NotFoundError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tokens.md").read_text(encoding="utf-8")


def documents(text: str) -> list[dict[str, Any]]:
    """JSON documents, one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        found.append(document)
        text = text.lstrip()[end:]
    return found


def test_the_page_s_commands(stack: Stack, tmp_path: Path):
    needs_curl()
    settings = {
        "SOJOURN_API_URL": stack.found["api_url"],
        "SOJOURN_SECRET_KEY": stack.found["environments"]["dev"]["secret_key"],
    }
    script = "\n".join(re.findall(r"```shell\n(.*?)```", PAGE, re.DOTALL))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**stack.environment, **settings},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    made = json.loads((tmp_path / "token.json").read_text())
    completed, retrieved, again, first, second, page = documents(done.stdout)
    assert completed == again == {"success": True}
    assert (retrieved["id"], retrieved["status"], json.loads(retrieved["output"])) == (
        made["id"],
        "COMPLETED",
        {"approved": True},
    )
    assert (first["isCached"], second["isCached"], second["id"]) == (False, True, first["id"])
    assert [(each["id"], each["status"]) for each in page["data"]] == [(first["id"], "WAITING")]
    paid = wait.retrieve_token(json.loads((tmp_path / "payment.json").read_text())["id"], client=stack.client())
    assert (paid.status, paid.output) == ("COMPLETED", {"paid": 42})


def test_the_sdk_and_the_api_mean_the_same(stack: Stack):
    client, until = stack.client(), datetime.now(UTC) + timedelta(hours=2)
    made = wait.create_token(timeout=until, tags=["sdk"], idempotency_key="k", idempotency_key_ttl="1h", client=client)
    again = wait.create_token(idempotency_key="k", client=client)
    assert (made.is_cached, again.is_cached, again.id, again.url) == (False, True, made.id, made.url)
    others = [
        wait.create_token(tags="sdk", timeout=timeout, client=client) for timeout in ("1h30m", 60, timedelta(1), None)
    ]
    found = wait.retrieve_token(made, client=client)
    assert (found.status, found.tags, found.url, found.output) == ("WAITING", ("sdk",), made.url, None)
    assert abs(found.timeout_at - until) < timedelta(milliseconds=2)
    data = {"text": "ß\u0000", "large": "é" * 500_000}
    wait.complete_token(made, data, client=client)
    wait.complete_token(made.id, "late", client=client)
    found = wait.retrieve_token(made.id, client=client)
    assert (found.status, found.output) == ("COMPLETED", data) and found.completed_at >= found.created_at
    listed = list(wait.list_tokens(status=["WAITING", "TIMED_OUT"], tags="sdk", client=client))
    assert [each.id for each in listed] == [each.id for each in reversed(others)]
    assert [each.id for each in wait.list_tokens(idempotency_key="k", period="1d", client=client)] == [made.id]
    with pytest.raises(NotFoundError):
        wait.complete_token(made, client=stack.client("prod"))
    past = wait.create_token(timeout=datetime.now(UTC) - timedelta(hours=1), client=client)
    assert wait.retrieve_token(past, client=client).status == "TIMED_OUT"
