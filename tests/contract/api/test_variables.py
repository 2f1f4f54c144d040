"""Environment variables: set, shown, given to runs; sealed in the store, told to nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from sys import getsizeof
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane import administration
from sojourn.control_plane.api.models.variables import ResolvedReply, VariablesReply
from sojourn.control_plane.domain import variables
from sojourn.control_plane.engine import variables as cases
from sojourn.control_plane.store import variables as store
from sojourn.control_plane.store.seal import Seal, SealBroken, new_master_key
from sojourn.control_plane.wiring import Platform
from sojourn.control_plane.wsgi import App
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_lost_and_late import Crew, crew

__all__ = ["crew"]

PATH = "/api/v1/projects/current/envvars/current"
CANARY = "CANARY-7f3a"


@pytest.fixture(autouse=True)
def none_left(platform: Platform) -> Iterator[None]:
    yield
    platform.database.rows("DELETE FROM environment_variables")


def put(tenant: Tenant, code: int = 200, **body: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_post(PATH, body=json.dumps(body))
    assert answer.status_code == code, answer.text
    return dict(answer.json)


def listed(tenant: Tenant) -> list[dict[str, Any]]:
    answer = tenant.client.simulate_get(PATH)
    VariablesReply.model_validate(answer.json)
    return list(answer.json)


def resolved(tenant: Tenant) -> dict[str, str]:
    answer = tenant.client.simulate_get("/api/v1/projects/current/envvars")
    ResolvedReply.model_validate(answer.json)
    return {name: value for name, value in answer.json["variables"].items() if not name.endswith("_API_URL")}


def test_a_variable_from_its_making_to_its_end(tenant: Tenant) -> None:
    assert put(tenant, name="GREETING", value='hello\n"é"') == {"success": True}
    shown = {"name": "GREETING", "value": 'hello\n"é"', "isSecret": False}
    assert listed(tenant) == [shown]
    assert tenant.client.simulate_get(f"{PATH}/GREETING").json == shown
    for method in ("PUT", "POST"):
        answer = tenant.client.simulate_request(method, f"{PATH}/GREETING", json={"value": method})
        assert (answer.status_code, answer.json) == (200, {"success": True})
        assert resolved(tenant) == {"GREETING": method}
    assert put(tenant, name="GREETING", value="") == {"success": True}
    assert resolved(tenant) == {"GREETING": ""}
    assert tenant.client.simulate_delete(f"{PATH}/GREETING").json == {"success": True}
    for method in ("GET", "PUT", "DELETE"):
        body = {"json": {"value": "x"}} if method == "PUT" else {}
        answer = tenant.client.simulate_request(method, f"{PATH}/GREETING", **body)
        assert (answer.status_code, answer.json["code"]) == (404, "VARIABLE_NOT_FOUND")
    assert listed(tenant) == []


@pytest.mark.parametrize("name", ["%00", "%ED%A0%80", "a%20b", "x" * 5_000, "PATH"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_names_that_there_cannot_be_are_not_there(tenant: Tenant, method: str, name: str) -> None:
    body = {} if method in ("GET", "DELETE") else {"json": {"value": "x"}}
    answer = tenant.client.simulate_request(method, f"{PATH}/{name}", **body)
    assert (answer.status_code, answer.json["code"]) == (404, "VARIABLE_NOT_FOUND"), answer.text


def test_a_secret_is_shown_to_runs_alone_and_stays_one(tenant: Tenant) -> None:
    put(tenant, name="TOKEN", value=CANARY, isSecret=True)
    put(tenant, name="TOKEN", value=CANARY + "2", isSecret=False)
    tenant.client.simulate_put(f"{PATH}/TOKEN", json={"value": CANARY + "3"})
    assert listed(tenant) == [{"name": "TOKEN", "value": "<redacted>", "isSecret": True}]
    assert tenant.client.simulate_get(f"{PATH}/TOKEN").json["value"] == "<redacted>"
    assert resolved(tenant) == {"TOKEN": CANARY + "3"}


def test_a_plain_one_can_become_a_secret(tenant: Tenant) -> None:
    put(tenant, name="TOKEN", value="x")
    put(tenant, name="TOKEN", value="y", isSecret=True)
    assert listed(tenant)[0]["isSecret"] is True


def test_values_are_sealed_in_the_store(tenant: Tenant, sibling: Tenant, platform: Platform) -> None:
    put(tenant, name="TOKEN", value=CANARY)
    rows = platform.database.rows("SELECT row_to_json(v)::text AS text FROM environment_variables v")
    assert rows and CANARY not in rows[0]["text"]
    assert resolved(tenant) == {"TOKEN": CANARY}  # what this has opened opens nowhere else
    platform.database.rows("UPDATE environment_variables SET environment_id = %s", sibling.environment)
    with pytest.raises(SealBroken):
        platform.variables.list(platform.access.environment(sibling.environment, platform.clock()))
    assert sibling.client.simulate_delete(f"{PATH}/TOKEN").status_code == 200


def test_a_personal_token_names_the_environment(tenant: Tenant, sibling: Tenant, app: App, platform: Platform) -> None:
    """It sees and sets what a key does, but what runs get is not resolved for it."""
    token = administration.tokens(platform, ["--do=create"])["token"]
    person = testing.TestClient(app, headers={"Authorization": f"Bearer {token}"})
    installation = platform.access.installation(platform.clock())
    assert installation and token.startswith("tr_pat_")
    path = f"/api/v1/projects/{installation.project_ref}/envvars"
    assert person.simulate_post(f"{path}/prod", json={"name": "A", "value": "1", "isSecret": True}).status_code == 200
    assert person.simulate_get(f"{path}/prod/A").json == {"name": "A", "value": "<redacted>", "isSecret": True}
    assert (resolved(sibling), resolved(tenant)) == ({"A": "1"}, {})
    assert person.simulate_delete(f"{path}/prod/A").status_code == 200
    for elsewhere in (f"{path}/nope", "/api/v1/projects/proj_other/envvars/dev"):
        assert person.simulate_get(elsewhere).json["code"] == "PROJECT_NOT_FOUND"
    assert person.simulate_get(path).status_code == 401


def test_what_is_kept_opened_has_a_bound(tenant: Tenant, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_KEPT_BYTES", 2_000)
    stored = store.Variables(platform.database, Seal(new_master_key()))
    stored.put(tenant.environment, {name: name * 300 for name in "ABCDE"}, platform.clock(), is_secret=False)
    for _ in range(3):
        assert {each.name: each.value for each in stored.all(tenant.environment)} == {name: name * 300 for name in "ABCDE"}
        kept = [getsizeof(text) for texts in stored._opened.values() for text in texts]
        assert stored._opened_bytes == sum(kept) <= 2_000 and kept
    stored.put(tenant.environment, {"E": "new"}, platform.clock(), is_secret=False)
    assert stored.all(tenant.environment)[-1].value == "new"


def test_environments_have_their_own(tenant: Tenant, sibling: Tenant, stranger: Tenant, platform: Platform) -> None:
    put(tenant, name="A", value="mine")
    put(sibling, name="A", value="its")
    assert (resolved(tenant), resolved(sibling), resolved(stranger)) == ({"A": "mine"}, {"A": "its"}, {})
    installation = platform.access.installation(platform.clock())
    assert installation
    ref = installation.project_ref
    for path in (f"{ref}/envvars/dev", f"{ref}/envvars/current", "current/envvars/dev"):
        assert tenant.client.simulate_get(f"/api/v1/projects/{path}").json[0]["value"] == "mine"
    for tenant_, path in (
        (tenant, f"{ref}/envvars/prod"),
        (tenant, "proj_x/envvars/dev"),
        (stranger, f"{ref}/envvars/dev"),
    ):
        for method, rest, body in (
            ("GET", "", None),
            ("POST", "", {"name": "A", "value": "x"}),
            ("POST", "/import", {"variables": {"A": "x"}}),
            ("GET", "/A", None),
            ("PUT", "/A", {"value": "x"}),
            ("DELETE", "/A", None),
        ):
            answer = tenant_.client.simulate_request(method, f"/api/v1/projects/{path}{rest}", json=body)
            assert (answer.status_code, answer.json["code"]) == (404, "PROJECT_NOT_FOUND")
    answer = stranger.client.simulate_get(f"/api/v1/projects/{ref}/envvars")
    assert answer.status_code == 404
    assert resolved(tenant) == {"A": "mine"}


def test_an_import_of_json(tenant: Tenant) -> None:
    put(tenant, name="A", value="old")
    body: dict[str, Any] = {"variables": {"A": "new", "B": "b"}, "parentVariables": {}, "source": {"type": "user"}}
    answer = tenant.client.simulate_post(f"{PATH}/import", json=body)
    assert (answer.status_code, answer.json) == (200, {"success": True, "created": 1, "updated": 0, "kept": ["A"]})
    assert resolved(tenant) == {"A": "old", "B": "b"}
    tenant.client.simulate_post(f"{PATH}/import", json={**body, "override": True, "isSecret": True})
    assert resolved(tenant) == {"A": "new", "B": "b"}
    assert [each["isSecret"] for each in listed(tenant)] == [True, True]
    assert tenant.client.simulate_post(f"{PATH}/import", json={"variables": {}}).status_code == 200


def form(fields: dict[str, str], boundary: str = "xyz") -> tuple[bytes, dict[str, str]]:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename=".env"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return ("".join(parts) + f"--{boundary}--\r\n").encode(), headers


DOTENV = """# a comment
export A=1
B="two words"  # more
C='$A and ${A}'
EMPTY=
BARE
MULTI="one
two"
"""


def test_an_import_of_a_dotenv_file(tenant: Tenant) -> None:
    body, headers = form({"variables": DOTENV, "override": "true"})
    answer = tenant.client.simulate_post(f"{PATH}/import", body=body, headers=headers)
    assert (answer.status_code, answer.json["success"], answer.json["kept"]) == (200, True, [])
    assert resolved(tenant) == {"A": "1", "B": "two words", "C": "$A and ${A}", "EMPTY": "", "MULTI": "one\ntwo"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"nonsense", {"Content-Type": "multipart/form-data; boundary=xyz"}),
        (b"--xyz--\r\n", {"Content-Type": "multipart/form-data; boundary=xyz"}),
        form({"override": "true"}),
        (form({"variables": "A=1"})[0].replace(b"A=1", b"A=\xff"), form({})[1]),
        (b"{}", {}),
        (b'{"variables": {"A": 1}}', {}),
        (b"[]", {}),
    ],
)
def test_an_import_that_cannot_be_read(tenant: Tenant, body: bytes, headers: dict[str, str]) -> None:
    answer = tenant.client.simulate_post(f"{PATH}/import", body=body, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID"), answer.text
    assert resolved(tenant) == {}


@pytest.mark.parametrize("name", ["1A", "a-b", "A B", "A=B", "é", "x" * 256, "\x00", "import"])
def test_names_that_there_cannot_be(tenant: Tenant, name: str) -> None:
    answer = put(tenant, 400, name=name, value=CANARY)
    assert answer["code"] == "VARIABLE_INVALID" and CANARY not in str(answer)


@pytest.mark.parametrize(
    "name", ["PATH", "path", "LD_PRELOAD", "PYTHONPATH", "NOMAD_TOKEN", "VAULT_TOKEN", "SOJOURN_SECRET_KEY", "HOME"]
)
def test_names_that_are_reserved(tenant: Tenant, name: str) -> None:
    assert "reserved" in put(tenant, 400, name=name, value="x")["error"]
    answer = tenant.client.simulate_post(f"{PATH}/import", json={"variables": {"FINE": "x", name: "x"}})
    assert (answer.status_code, answer.json["code"]) == (400, "VARIABLE_INVALID")
    assert resolved(tenant) == {}


@pytest.mark.parametrize("value", ["a\x00b", "\ud800", "x" * (variables.MAX_VALUE_BYTES + 1), "é" * 40_000])
def test_values_that_there_cannot_be(tenant: Tenant, value: str) -> None:
    assert put(tenant, 400, name="A", value=value)["code"] == "VARIABLE_INVALID"


def test_how_many_there_can_be(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MAX_VARIABLES", 2)
    assert tenant.client.simulate_post(f"{PATH}/import", json={"variables": {"A": "1", "B": "2"}}).status_code == 200
    assert put(tenant, 422, name="C", value="3")["code"] == "TOO_MANY_VARIABLES"
    put(tenant, name="B", value="22")
    monkeypatch.setattr(cases, "MAX_TOTAL_BYTES", 4)
    assert put(tenant, 422, name="B", value="2222")["code"] == "TOO_MANY_VARIABLES"
    assert resolved(tenant) == {"A": "1", "B": "22"}


# --- what runs are given


def test_attempts_are_given_what_there_is_when_they_begin(crew: Crew, tenant: Tenant) -> None:
    put(tenant, name="A", value="1", isSecret=True)
    first = tenant.trigger()
    given = crew.ask("executor_1").assignment
    assert given and given["variables"] == {"A": "1"}
    put(tenant, name="A", value="2")
    put(tenant, name="B", value="3")
    tenant.trigger()
    given = crew.ask("executor_1", completed=crew.done(first, "executor_1")).assignment
    assert given and given["variables"] == {"A": "2", "B": "3"}


def test_nothing_of_a_value_is_logged(
    crew: Crew, tenant: Tenant, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    put(tenant, name="A", value=CANARY, isSecret=True)
    tenant.trigger()
    assert crew.ask("executor_1").assignment
    assert CANARY not in caplog.text
    assert CANARY not in repr(platform.variables.list(platform.access.environment(tenant.environment, platform.clock())))
