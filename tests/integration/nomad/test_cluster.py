"""`doctor` on a real cluster: each right that a token lacks is found, by requests that change nothing."""

from __future__ import annotations

from pathlib import Path

import nomad
import pytest

from sojourn.control_plane.cluster import examine
from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.control_plane.embedded.nomad_rights import POLICY
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, nomad_client, signing_keys

CAPABILITIES = ["list-jobs", "read-job", "submit-job", "dispatch-job"]


def states(access: NomadAccess) -> dict[str, str]:
    return {finding.what: finding.state for finding in examine(access)}


@pytest.fixture
def management(nomad_agent: NomadAgent) -> nomad.Nomad:
    return nomad_client(nomad_agent.management)


def lesser(agent: NomadAgent, management: nomad.Nomad, rules: str) -> NomadAccess:
    """A token of a policy made for the test."""
    management.acl.create_policy("lesser", {"Name": "lesser", "Rules": rules})
    made = management.acl.create_token({"Name": "lesser", "Type": "client", "Policies": ["lesser"]})
    return NomadAccess(agent.access.address, made["SecretID"], region="global")


def test_the_policy_that_is_shipped_is_enough(nomad_agent: NomadAgent) -> None:
    found = states(nomad_agent.access)
    assert "bad" not in found.values()
    assert {found[f"right {name}"] for name in [*CAPABILITIES, "node read"]} == {"ok"}
    assert {"Nomad", "clock", "identities", "token", "namespace", "version", "nodes", "memory", "cgroups"} <= found.keys()
    assert found["driver raw_exec"] == "ok"


def bad(access: NomadAccess) -> dict[str, str]:
    return {finding.what: finding.text for finding in examine(access) if finding.state == "bad"}


@pytest.mark.parametrize("missing", CAPABILITIES)
def test_a_capability_that_is_missing(nomad_agent: NomadAgent, management: nomad.Nomad, missing: str) -> None:
    # list-jobs and read-job are looked for by requests that need them alone, whatever else there is.
    rules = "\n".join(line for line in POLICY.read_text().splitlines() if f'"{missing}"' not in line)
    found = bad(lesser(nomad_agent, management, rules))
    assert list(found) == [f"right {missing}"]
    assert f'namespace "sojourn" {{ capabilities = ["{missing}"] }}' in found[f"right {missing}"]
    assert "nomad acl policy apply sojourn" in found[f"right {missing}"]


def test_node_read_is_missing(nomad_agent: NomadAgent, management: nomad.Nomad) -> None:
    rules = POLICY.read_text().replace('policy = "read"', 'policy = "deny"')
    assert list(bad(lesser(nomad_agent, management, rules))) == ["right node read"]


def test_a_token_that_is_not_known_or_not_there(nomad_agent: NomadAgent) -> None:
    address = nomad_agent.access.address
    unknown = NomadAccess(address, "7b1b6a9e-0000-0000-0000-000000000000", region="global")
    assert list(bad(unknown)) == ["token"]
    assert list(bad(NomadAccess(address, region="global"))) == ["token"]


def test_a_management_token_is_more_than_is_needed(nomad_agent: NomadAgent) -> None:
    assert states(nomad_agent.management)["token"] == "note"


def test_another_namespace(nomad_agent: NomadAgent) -> None:
    access = NomadAccess(nomad_agent.access.address, nomad_agent.management.token, "none", "global")
    assert "nomad namespace apply none" in bad(access)["namespace"]


def test_memory_oversubscription_that_is_off(nomad_agent: NomadAgent, management: nomad.Nomad) -> None:
    switch(management, False)
    try:
        assert states(nomad_agent.access)["memory"] == "note"
    finally:
        switch(management, True)
    assert states(nomad_agent.access)["memory"] == "ok"


def switch(management: nomad.Nomad, on: bool) -> None:
    configuration = management.operator.request("scheduler", "configuration", method="get").json()["SchedulerConfig"]
    changed = configuration | {"MemoryOversubscriptionEnabled": on}
    management.operator.request("scheduler", "configuration", method="put", json=changed)


def test_nothing_is_changed(nomad_agent: NomadAgent, management: nomad.Nomad) -> None:
    def jobs() -> list[str]:
        return sorted(job["ID"] for job in management.jobs.request(method="get", params={"namespace": "*"}).json())

    before = jobs()
    states(nomad_agent.access)
    states(nomad_agent.management)
    assert jobs() == before


def test_keys_of_workload_identities_are_public(nomad_agent: NomadAgent) -> None:
    keys = signing_keys(nomad_client(NomadAccess(nomad_agent.access.address, region="global")))
    assert {key["use"] for key in keys} == {"sig"}
    with pytest.raises(BaseNomadException):
        signing_keys(nomad_client(NomadAccess("http://127.0.0.1:1")))


def test_a_cluster_that_is_not_there() -> None:
    found = list(examine(NomadAccess("http://u:private@127.0.0.1:1", "private-token")))
    assert [finding.state for finding in found] == ["bad"]
    assert "http://127.0.0.1:1 cannot be reached ([Errno 111] Connection refused)" in found[0].text
    assert "private" not in found[0].text


def test_the_policy_names_every_right_with_its_reason() -> None:
    assert [
        line.strip().split('"')[1] for line in POLICY.read_text().splitlines() if "#" in line and '",' in line
    ] == CAPABILITIES
    assert Path(POLICY).parts[-3:] == ("nomad_jobs", "platform", "sojourn.policy.hcl")
