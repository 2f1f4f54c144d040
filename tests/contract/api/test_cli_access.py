"""Which environment a command speaks to: by a key that is exported, a person's token, or the stack of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from falcon import testing

from sojourn.cli.main import main
from sojourn.control_plane import administration, wsgi
from sojourn.control_plane.wiring import Platform
from sojourn.sdk import transport
from sojourn.sdk.exchange import Request, Response
from tests.contract.api.conftest import Tenant

Invoke = Callable[..., Any]


@pytest.fixture
def invoke(app: wsgi.App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs a command with these variables exported, over the real application."""
    http = testing.TestClient(app)

    class Straight:
        def __init__(self, url: str):
            assert url == "http://sojourn.test"

        def __call__(self, request: Request) -> Response:
            path, _, query = request.path.partition("?")
            answer = http.simulate_request(
                request.method, path, query_string=query, body=request.body or b"", headers=dict(request.headers)
            )
            return Response(answer.status_code, answer.headers, answer.content)

    monkeypatch.setattr(transport, "HttpTransport", Straight)

    def run(*words: str, code: int = 0, **exported: str) -> str:
        variables: Mapping[str, str | None] = {
            "SOJOURN_API_URL": "http://sojourn.test",
            "SOJOURN_DATA_DIR": str(tmp_path),
            "SOJOURN_SECRET_KEY": None,
            **exported,
        }
        done = CliRunner().invoke(main, list(words), env=variables)
        assert done.exit_code == code, done.output
        return done.output

    return run


@pytest.fixture
def ref(platform: Platform) -> str:
    installation = platform.access.installation(platform.clock())
    assert installation
    return installation.project_ref


def test_an_environment_that_the_exported_key_does_not_open_is_refused(
    invoke: Invoke, tenant: Tenant, sibling: Tenant, ref: str
) -> None:
    refused = invoke("env", "set", "FOO", "bar", "--env", "prod", code=2, SOJOURN_SECRET_KEY=tenant.key)
    assert f"opens dev of {ref}, not --env prod" in refused and "unset SOJOURN_SECRET_KEY" in refused
    assert "not --env nonesuch" in invoke("runs", "list", "--env", "nonesuch", code=2, SOJOURN_SECRET_KEY=tenant.key)
    other = invoke("runs", "cancel", "--all", "--yes", "--env", "dev", code=2, SOJOURN_SECRET_KEY=sibling.key)
    assert "opens prod of" in other
    project = invoke("runs", "list", "--project", "proj_other", code=2, SOJOURN_SECRET_KEY=tenant.key)
    assert "not --project proj_other" in project
    for each in (tenant, sibling):
        assert json.loads(invoke("env", "list", "--json", SOJOURN_SECRET_KEY=each.key)) == []


def test_an_environment_that_the_key_opens_may_be_named(invoke: Invoke, tenant: Tenant, sibling: Tenant, ref: str) -> None:
    for words in ((), ("--env", "dev"), ("--env", "development"), ("--project", ref), ("--project", ref, "--env", "dev")):
        invoke("runs", "list", *words, SOJOURN_SECRET_KEY=tenant.key)
    made = invoke("keys", "create", "--scope", "read:runs", "--env", "prod", "--json", SOJOURN_SECRET_KEY=sibling.key)
    restricted = json.loads(made)["key"]
    assert restricted.startswith("tr_prod_sk_")
    invoke("runs", "list", "--env", "prod", SOJOURN_SECRET_KEY=restricted)
    assert "opens prod" in invoke("runs", "list", "--env", "dev", code=2, SOJOURN_SECRET_KEY=restricted)


@pytest.mark.parametrize("variable", ["SOJOURN_ACCESS_TOKEN", "TRIGGER_ACCESS_TOKEN", "SOJOURN_SECRET_KEY"])
def test_a_persons_token_opens_what_is_named(
    invoke: Invoke, platform: Platform, tenant: Tenant, sibling: Tenant, stranger: Tenant, ref: str, variable: str
) -> None:
    token = administration.tokens(platform, ["--do=create", "--name=laptop"])["token"]
    mine, other = tenant.trigger("hello"), sibling.trigger("hello")
    shown = invoke("runs", "list", "--json", **{variable: token})
    assert mine in shown and other not in shown
    shown = invoke("runs", "list", "--json", "--env", "prod", "--project", ref, **{variable: token})
    assert other in shown and mine not in shown
    refused = invoke("runs", "list", "--env", "none", code=2, **{variable: token})
    assert "there is no environment 'none'" in refused and ref in refused
    assert "proj_other" in invoke("runs", "list", "--project", "proj_other", code=2, **{variable: token})
    assert "personal token" in invoke("runs", "list", code=2, **{variable: "tr_pat_" + "x" * 40})


def test_the_stack_here_opens_environments_that_its_file_does_not_have(
    invoke: Invoke, platform: Platform, tenant: Tenant, sibling: Tenant, ref: str, tmp_path: Path
) -> None:
    token = administration.tokens(platform, ["--do=create"])["token"]
    run = sibling.trigger("hello")
    environments = {"dev": {"secret_key": tenant.key}}
    file = {"api_url": "http://sojourn.test", "project_ref": ref, "environments": environments}
    (tmp_path / "credentials.json").write_text(json.dumps(file))
    assert "there is no environment 'prod': there are dev" in invoke("runs", "list", "--env", "prod", code=2)
    (tmp_path / "credentials.json").write_text(json.dumps(file | {"pat": token}))
    assert run in invoke("runs", "list", "--env", "prod", "--json")
    assert run not in invoke("runs", "list", "--project", ref, "--json")
    assert "there is no environment 'nowhere'" in (told := invoke("runs", "list", "--env", "nowhere", code=2))
    assert "there are dev" in told


def test_a_public_token_opens_one_environment(invoke: Invoke, tenant: Tenant) -> None:
    token = invoke("keys", "token", "--scope", "read:runs", SOJOURN_SECRET_KEY=tenant.key).strip()
    invoke("runs", "list", SOJOURN_ACCESS_TOKEN=token)
    assert "leave --env dev out" in invoke("runs", "list", "--env", "dev", code=2, SOJOURN_ACCESS_TOKEN=token)


def test_a_rotated_key_of_elsewhere_stays_out_of_the_stacks_file(
    invoke: Invoke, platform: Platform, sibling: Tenant, ref: str, tmp_path: Path
) -> None:
    token = administration.tokens(platform, ["--do=create"])["token"]
    file = {
        "api_url": "http://sojourn.test",
        "project_ref": ref,
        "environments": {"prod": {"secret_key": "as it was"}},
    }
    path = tmp_path / "credentials.json"
    path.write_text(json.dumps(file))
    made = json.loads(invoke("keys", "rotate", "--env", "production", "--json", SOJOURN_ACCESS_TOKEN=token))
    assert made["isRoot"] and json.loads(path.read_text()) == file
    file["environments"]["prod"]["secret_key"] = made["key"]  # type: ignore[index]
    path.write_text(json.dumps(file))
    again = json.loads(invoke("keys", "rotate", "--env", "production", "--json"))
    assert json.loads(path.read_text())["environments"]["prod"]["secret_key"] == again["key"] != made["key"]
    assert "leave --project out" in invoke("keys", "list", "--direct", "--project", ref, code=2)
