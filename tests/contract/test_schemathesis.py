"""Schemathesis itself against a server, with its checks and two tenants: what it finds is the page's or the API's fault.

It reads the OpenAPI page as a stranger would, makes requests that fit and requests that do not, goes on with what answers
named, uses what was deleted, leaves keys out, and asks for one tenant's things with the other's key.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sojourn.control_plane import config, embedded
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, anonymous, app, platform, stranger, tenant

__all__ = ["anonymous", "app", "platform", "stranger", "tenant"]

SECONDS = 30
CONF = str(Path(embedded.__file__).with_name("gunicorn_conf.py"))
#: Executors' calls are no tenant's, lines of JSON are unknown to the program, and a long poll is waited for in vain:
#: `test_openapi.py` has all three.
ONLY, NOT = "^/api/v", "/batches/{batch}/items$|/result$|/objects/"
#: No schema says all rules, so that what fits it may be refused; every other check is on.
CONFIGURATION = """
[checks]
positive_data_acceptance.enabled = false
negative_data_rejection.expected-statuses = [400, 401, 404, 405, 409, 413, 414, 415, 422]
"""


@pytest.fixture(scope="module")
def url(platform: Platform) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    command = ["-m", "gunicorn", "-c", CONF, "-k", "gevent", "-b", f"fd://{listener.fileno()}", "--no-control-socket"]
    process = subprocess.Popen(
        [sys.executable, *command, "--log-level", "error", "sojourn.control_plane.serve:application()"],
        env=os.environ | config.to_environment(platform.config),
        pass_fds=[listener.fileno()],
    )
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    process.terminate()
    process.wait()
    listener.close()


@pytest.fixture
def keys(tenant: Tenant, stranger: Tenant, tmp_path: Path) -> Path:
    """Both tenants' keys, in a file, so that they are in no list of processes."""
    for each in (tenant, stranger):
        each.deploy(["hello"])
    users = [
        {"name": name, "fixedHeaders": [{"name": "Authorization", "value": f"Bearer {each.key}"}]}
        for name, each in (("tenant", tenant), ("stranger", stranger))
    ]
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"auth": users}))
    return path


def test_all_checks_with_two_tenants(url: str, keys: Path, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/api/openapi.json", "--auth-wfc", str(keys),
        "--include-path-regex", ONLY, "--exclude-path-regex", NOT, "--max-time", str(SECONDS), "--max-examples", "5",
        "--workers", "1", "--generation-deterministic", "--no-color", "--suppress-health-check", "all",
        "--warnings", "off", "--no-shrink", "--continue-on-failure",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    for phase in ("Coverage", "Fuzzing", "Stateful"):
        assert re.search(rf"{phase} \(in [0-9.]+s\)", done.stdout), done.stdout
