"""Schemathesis against a server, with all of its checks and two tenants: what it finds is the page's or the API's fault.

It reads the OpenAPI page as a stranger would, makes requests that fit and requests that do not, goes on with what answers
named, uses what was deleted, leaves keys out, and asks for one tenant's things with the other's key.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sojourn.control_plane.api.routes import ROUTES
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, anonymous, app, platform, stranger, tenant
from tests.support import page_rules
from tests.support.web_server import serve

__all__ = ["anonymous", "app", "platform", "stranger", "tenant"]

#: Seconds. It makes as many requests on a slow machine as on a fast one.
PATIENCE = 580
#: Executors' calls are no tenant's: `test_openapi.py` has them.
ONLY = "^/api/v"


@pytest.fixture(scope="module")
def url(platform: Platform) -> Iterator[str]:
    with serve(platform.config, 2) as server:
        yield server.url


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


@pytest.fixture
def parameters(tenant: Tenant) -> dict[str, dict[str, str]]:
    """Addresses of objects that are good: nobody would guess one."""
    begun = tenant.client.simulate_put("/api/v2/packets/page.json").json["presignedUrl"]
    assert tenant.client.simulate_put("/api" + begun.partition("/api")[2], body=b"{}").status_code == 200
    kept = tenant.client.simulate_get("/api/v1/packets/page.json").json["presignedUrl"]
    grants = {"packets_write": begun, "packets_read": kept}
    return {operation: {"path.grant": url.rpartition("/")[2]} for operation, url in grants.items()}


def test_all_checks_with_two_tenants(url: str, keys: Path, parameters: dict[str, dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(page_rules.configuration(parameters))
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/api/openapi.json", "--auth-wfc", str(keys),
        "--include-path-regex", ONLY, "--workers", "1", "--generation-deterministic", "--no-color",
        "--suppress-health-check", "all", "--warnings", "off", "--no-shrink", "--continue-on-failure",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert re.search(rf"{phase} \(in [0-9.]+s\)", done.stdout), done.stdout
    tested = sum(route.path.startswith("/api/v") for route in ROUTES)
    assert re.search(rf"Tested: {tested}\n", done.stdout), done.stdout


def test_every_rule_that_no_schema_says_is_about_something() -> None:
    """A rule whose code no operation has any more goes."""
    for rule in page_rules.UNSAID:
        met = [
            route
            for route in ROUTES
            for code in route.all_codes
            if re.fullmatch(rule.operation, page_rules.operation_of(route)) and re.fullmatch(rule.code, code)
        ]
        assert met, rule
