"""What an operator makes of environments: each opens by its own key, and runs in it at once."""

from __future__ import annotations

import pytest
from falcon import testing

from sojourn.control_plane.config import SettingError
from sojourn.control_plane.environments import environments
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, executor, first_tenant
from tests.support.freezing import Player


def make(platform: Platform, name: str, *more: str) -> dict[str, str]:
    return environments(platform, ["--do", "create", f"--name={name}", *more])


def test_a_new_environment_has_runs_of_its_own(platform: Platform, app: object, tenant: Tenant) -> None:
    made = make(platform, "staging")
    assert (made["slug"], made["type"]) == ("staging", "STAGING") and made["key"].startswith("tr_staging_")
    headers = {"Authorization": f"Bearer {made['key']}"}
    other = Tenant(tenant.organization, made["id"], made["key"], testing.TestClient(app, headers=headers))
    version = other.deploy(["staged"])["id"]
    run = other.trigger("staged")
    assert tenant.client.simulate_get(f"/api/v3/runs/{run}").status_code == 404
    player = Player(executor(platform, other, version, "executor_of_staging"))
    player.next()  # the queue knows its limit: nothing waits for a sweep
    assert player.work["run"]["id"] == run
    assert other.client.simulate_get("/api/v1/runs").json["data"][0]["id"] == run
    installation = platform.access.installation(platform.clock())
    assert installation and installation.keys["staging"] == made["key"]  # so `sojourn up` writes it down, too


def test_what_there_is_is_listed(platform: Platform) -> None:
    made = make(platform, "load-tests", "--kind=development", "--limit=7")
    (found,) = [each for each in environments(platform, ["--do", "list"])["data"] if each["id"] == made["id"]]
    assert (found["slug"], found["type"], found["project"]["slug"]) == ("load-tests", "DEVELOPMENT", "default")
    assert "key" not in found
    shares = {each["slug"]: each["limit"] for owner in platform.shares.all() for each in owner["environments"]}
    assert shares["load-tests"] == 7


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["dev"], "has an environment 'dev' already"),
        (["stg"], "another word for 'staging'"),
        (["pat"], "is no name for an environment"),
        (["current"], "is no name for an environment"),
        (["Staging"], "is no name for an environment"),
        (["a_b"], "is no name for an environment"),
        ([""], "is no name for an environment"),
        (["x" * 33], "is no name for an environment"),
        (["other", "--project=billing"], "there is no project 'billing'"),
    ],
)
def test_what_cannot_be_made(platform: Platform, arguments: list[str], told: str) -> None:
    before = first_tenant(platform) and environments(platform, ["--do", "list"])
    with pytest.raises(SettingError) as refused:
        make(platform, *arguments)
    assert told in str(refused.value)
    assert environments(platform, ["--do", "list"]) == before
