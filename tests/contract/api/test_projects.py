"""Tokens of people and organizations: what they open, and that they end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane import administration, wsgi
from sojourn.control_plane.api.auth import Gate
from sojourn.control_plane.api.models.projects import (
    EnvironmentReply,
    OpenedReply,
    ProjectReply,
    ProjectsReply,
    WhoamiReply,
)
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.config import SettingError
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant


def administer(platform: Platform, *arguments: str) -> dict[str, Any]:
    return administration.tokens(platform, arguments)


@pytest.fixture
def made(platform: Platform, tenant: Tenant) -> dict[str, Any]:
    return administer(platform, "--do=create", "--name=laptop", "--expires=30d")


def holder(app: wsgi.App, token: str) -> testing.TestClient:
    return testing.TestClient(app, headers={"Authorization": f"Bearer {token}"})


def test_what_a_token_sees(platform: Platform, tenant: Tenant, stranger: Tenant, app: wsgi.App, made: Any) -> None:
    installation = platform.access.installation(platform.clock())
    assert installation and made["token"].startswith("tr_pat_")
    person = holder(app, made["token"])
    told = person.simulate_get("/api/v2/whoami", params={"projectRef": installation.project_ref}).json
    WhoamiReply.model_validate(told)
    assert (told["userId"], told["project"]["name"]) == (made["id"], "Default")
    (project,) = person.simulate_get("/api/v1/projects").json
    ProjectsReply.model_validate([project])
    assert project["externalRef"] == installation.project_ref
    ProjectReply.model_validate(person.simulate_get(f"/api/v1/projects/{installation.project_ref}").json)
    opened = person.simulate_get(f"/api/v1/projects/{installation.project_ref}/prod").json
    EnvironmentReply.model_validate(opened)
    assert opened["apiKey"] == platform.access.keys.root(installation.environments["prod"], platform.clock())
    for path in ("proj_other", "proj_other/dev", f"{installation.project_ref}/none"):
        answer = person.simulate_get(f"/api/v1/projects/{path}")
        assert (answer.status_code, answer.json["error"]) == (404, "Project not found")
    assert person.simulate_get("/api/v1/runs").status_code == 401, "it is no environment's key"


def test_an_organizations_token(platform: Platform, tenant: Tenant, app: wsgi.App) -> None:
    made = administer(platform, "--do=create", "--kind=organization")
    assert made["token"].startswith("tr_oat_")
    assert holder(app, made["token"]).simulate_get("/api/v2/whoami").json["userId"] == tenant.organization


def test_a_token_ends(platform: Platform, tenant: Tenant, app: wsgi.App, made: Any) -> None:
    person, kept = holder(app, made["token"]), platform.access.personal_tokens
    assert person.simulate_get("/api/v1/projects").status_code == 200
    assert kept.opened_by(made["token"], platform.clock() + timedelta(days=30)) is None
    listed = {each["id"]: each for each in administer(platform, "--do=list")["data"]}
    assert listed[made["id"]]["lastUsedAt"] and made["token"] not in str(listed)
    assert administer(platform, "--do=revoke", f"--token={made['id']}")["revokedAt"]
    refused = person.simulate_get("/api/v1/projects")
    assert (refused.status_code, refused.json["code"]) == (401, "PERSONAL_TOKEN_REFUSED")


def test_a_secret_key_is_nobodys_token(tenant: Tenant) -> None:
    assert tenant.client.simulate_get("/api/v1/projects").json["code"] == "PERSONAL_TOKEN_REFUSED"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--do=list", "--organization=none"],
        ["--do=revoke", "--token=x"],
        ["--do=create", "--expires=soon"],
    ],
)
def test_what_an_operator_is_told(platform: Platform, arguments: list[str]) -> None:
    with pytest.raises(SettingError):
        administer(platform, *arguments)


def test_another_organizations_token_is_not_revoked(platform: Platform, stranger: Tenant, made: Any) -> None:
    with pytest.raises(SettingError, match="no such token"):
        administer(platform, "--do=revoke", "--organization=other", f"--token={made['id']}")


def test_a_projects_route_is_opened_by_either(
    platform: Platform, tenant: Tenant, sibling: Tenant, stranger: Tenant, made: Any
) -> None:
    gate = Gate(platform.access, platform.public_tokens, platform.credentials, platform.identities)
    installation = platform.access.installation(platform.clock())
    assert installation
    ref = installation.project_ref

    def opened(key: str, ref: str, env: str) -> str | None:
        shown = {"HTTP_AUTHORIZATION": f"Bearer {key}"}
        try:
            return gate.project(shown, platform.clock(), {"ref": ref, "env": env}).environment.id
        except Problem as problem:
            return None if problem.code == "PROJECT_NOT_FOUND" else problem.code

    assert opened(tenant.key, ref, "dev") == opened(made["token"], ref, "dev") == tenant.environment
    assert opened(made["token"], ref, "production") == sibling.environment
    assert opened(tenant.key, ref, "prod") is None, "a key opens its own environment"
    assert opened(tenant.key, "proj_other", "dev") is None
    assert opened(made["token"], "proj_other", "dev") is None
    assert opened("tr_pat_" + "x" * 40, ref, "dev") == "PERSONAL_TOKEN_REFUSED"


def test_what_a_key_opens(tenant: Tenant, sibling: Tenant, platform: Platform) -> None:
    installation = platform.access.installation(platform.clock())
    assert installation
    for each, slug in ((tenant, "dev"), (sibling, "prod")):
        told = each.client.simulate_get("/api/v1/environment").json
        OpenedReply.model_validate(told)
        assert (told["id"], told["slug"], told["project"]["ref"]) == (each.environment, slug, installation.project_ref)
    assert testing.TestClient(tenant.client.app).simulate_get("/api/v1/environment").status_code == 401
