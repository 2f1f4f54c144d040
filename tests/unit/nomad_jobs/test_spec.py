"""The job's document: what it says, what it never says, and that the same input makes the same one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sojourn.control_plane.domain.regions import Region, Regions
from sojourn.nomad_jobs.sites import BadSite, Constraint, Site, read
from sojourn.nomad_jobs.spec import SPEC_META, Terms, Unfit, child_of, job, job_id
from sojourn.sdk.protocol import MACHINES

TERMS = Terms(api_url="http://127.0.0.1:3030", kill_timeout=9, lease=60)
SITE = Site(python="/opt/python", versions_dir="/versions")
WAYS = {"raw_exec": ("/opt/python", "/versions"), "exec": ("/there/python", ""), "docker": ("python3", "")}


def made(machine: str = "small-1x", site: Site = SITE, terms: Terms = TERMS) -> dict[str, Any]:
    return job("env_1", "deployment_1", machine, site, terms)


def task(document: dict[str, Any]) -> dict[str, Any]:
    ((found,),) = [group["Tasks"] for group in document["TaskGroups"]]
    return dict(found)


def test_nomad_never_tries_again_by_itself() -> None:
    (group,) = made()["TaskGroups"]
    assert group["RestartPolicy"] == {"Attempts": 0, "Mode": "fail"}
    assert group["ReschedulePolicy"] == {"Attempts": 0, "Unlimited": False}
    assert group["Disconnect"] == {"Replace": False, "StopOnClientAfter": 300 * 10**9}


def test_a_dispatch_says_ids_and_nothing_else() -> None:
    assert made()["ParameterizedJob"] == {
        "Payload": "forbidden",
        "MetaRequired": ["executor"],
        "MetaOptional": ["run", "snapshot"],
    }
    assert set(task(made())["Env"]) == {"SOJOURN_API_URL", "SOJOURN_DRIVER", "SOJOURN_VERSIONS_DIR"}


def test_a_job_says_where_tasks_do_not_go() -> None:
    terms = Terms(api_url="http://127.0.0.1:3030", kill_timeout=9, lease=60, denied=("203.0.113.9/32",))
    assert task(made(terms=terms))["Env"]["SOJOURN_DENIED"] == "203.0.113.9/32"


def test_the_identity_is_a_file_for_sojourn_alone() -> None:
    (identity,) = task(made())["Identities"]
    assert (identity["Audience"], identity["File"], identity["Env"]) == (["sojourn"], True, False)
    assert identity["TTL"] <= 15 * 60 * 10**9
    assert task(made())["User"] == "root"


@pytest.mark.parametrize("machine", MACHINES)
def test_presets_become_resources(machine: str) -> None:
    preset, resources = MACHINES[machine], task(made(machine))["Resources"]
    assert resources["CPU"] == preset.cpu * 1000
    assert preset.memory * 1024 < resources["MemoryMB"] < resources["MemoryMaxMB"]


def test_a_site_says_where() -> None:
    site = Site(
        datacenters=("a", "b"),
        node_pool="gpu",
        namespace="other",
        priority=70,
        constraints=(Constraint("${attr.kernel.name}", "linux"),),
    )
    document = made(site=site)
    assert (document["Datacenters"], document["NodePool"], document["Priority"]) == (["a", "b"], "gpu", 70)
    assert document["Namespace"] == "other"
    assert document["Constraints"] == [{"LTarget": "${attr.kernel.name}", "RTarget": "linux", "Operand": "="}]


def test_drivers() -> None:
    for driver in ("raw_exec", "exec"):
        assert task(made(site=Site(driver=driver)))["Config"]["command"] == "python3"
    assert "User" not in task(made(site=Site(driver="exec"))), "clients refuse root for it"
    assert task(made(site=Site(driver="exec", user="runs")))["User"] == "runs"
    able = task(made(site=Site(driver="exec", capabilities=("sys_admin",))))
    assert (able["Config"]["cap_add"], able["Env"]["SOJOURN_DRIVER"]) == (["sys_admin"], "exec")
    docker = task(made(site=Site(driver="docker", image="registry/x:1")))
    assert (docker["Driver"], docker["Config"]["image"], "User" in docker) == ("docker", "registry/x:1", False)
    assert "network_mode" not in docker["Config"]
    host = task(made(site=Site(driver="docker", image="x", network_mode="host")))
    assert host["Config"]["network_mode"] == "host"


def test_the_same_input_makes_the_same_document_and_another_another_digest() -> None:
    assert made() == made()
    json.dumps(made())
    digests = {made(**more)["Meta"][SPEC_META] for more in ({}, {"machine": "micro"}, {"site": Site(priority=1)})}
    assert len(digests) == 3


def test_ids() -> None:
    name = job_id("env_1", "deployment_1", "small-1x")
    assert name == "sojourn-env_1-deployment_1-small-1x"
    assert child_of(f"{name}/dispatch-executor_01abc-1795703783-ac5a9787") == (name, "executor_01abc")
    for other in (name, "web", "x/dispatch-1795703783-ac5a9787", "", "x/periodic-1"):
        assert child_of(other) is None
    with pytest.raises(ValueError):
        job_id("env 1", "v", "m")


def test_sites_by_environment() -> None:
    sites = read('{"*": {"priority": 60}, "prod": {"datacenters": ["dc2"]}}', Regions(), WAYS)
    assert sites.of("default", "env_9", "dev").priority == 60
    prod = sites.of("default", "env_8", "prod")
    assert (prod.priority, prod.datacenters, prod.python) == (60, ("dc2",), "/opt/python")
    assert read("", Regions(), WAYS).of("default", "x") == SITE


def test_an_interpreter_and_versions_are_where_the_driver_has_them() -> None:
    sites = read('{"*": {"driver": "exec"}, "prod": {"driver": "raw_exec"}, "other": {"python": "/py"}}', Regions(), WAYS)
    found = {name: sites.of("default", name) for name in ("dev", "prod", "other")}
    assert {name: (site.python, site.versions_dir) for name, site in found.items()} == {
        "dev": ("/there/python", ""), "prod": ("/opt/python", "/versions"), "other": ("/py", ""),
    }  # fmt: skip
    assert task(made(site=found["dev"]))["Env"]["SOJOURN_VERSIONS_DIR"] == "${NOMAD_TASK_DIR}/versions"


def test_a_regions_options_go_before_an_environments() -> None:
    regions = Regions({"gpu": Region(options={"node_pool": "gpu", "priority": 80}), "eu": Region("eu-1")})
    sites = read('{"*": {"region": "eu"}, "prod": {"priority": 60, "python": "/usr/bin/python3"}}', regions, WAYS)
    gpu = sites.of("gpu", "env_8", "prod")
    assert (gpu.node_pool, gpu.priority, gpu.python) == ("gpu", 80, "/usr/bin/python3")
    assert sites.of("eu", "env_8", "prod") == sites.of("default", "env_8", "prod")
    assert sites.of("gpu", "env_9", "dev").priority == 80


def test_a_region_that_names_another_driver_has_its_interpreter() -> None:
    sites = read("", Regions({"eu": Region(options={"driver": "exec"})}), WAYS)
    assert [sites.of(name, "x").python for name in ("default", "eu")] == ["/opt/python", "/there/python"]


def test_a_region_is_part_of_the_job() -> None:
    plain, other = (job("env_1", "v", "micro", SITE, TERMS, region) for region in ("default", "eu"))
    assert other["ID"] == plain["ID"] + "-eu"
    assert (plain["Meta"].get("region"), other["Meta"]["region"]) == (None, "eu")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"colour": "red"}, "SOJOURN_REGIONS cannot be used: eu: there is no option 'colour'"),
        ({"priority": 0}, "SOJOURN_REGIONS cannot be used: eu.priority: it takes a whole number"),
        ({"driver": "docker"}, "SOJOURN_REGIONS cannot be used: eu.image"),
    ],
)
def test_a_region_whose_options_cannot_be_used_is_named(options: dict[str, Any], names: str) -> None:
    with pytest.raises(BadSite, match=names):
        read("", Regions({"eu": Region(options=options)}), WAYS)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{", "no JSON"),
        ("[]", "it takes an object"),
        ('{"dev": 1}', "dev: it takes an object"),
        ('{"dev": {"colour": "red"}}', "no option 'colour'"),
        ('{"dev": {"priority": "high"}}', "dev.priority: it takes a whole number"),
        ('{"dev": {"priority": true}}', "dev.priority: it takes a whole number"),
        ('{"dev": {"priority": 101}}', "dev.priority: it takes a whole number from 1 to 100"),
        ('{"dev": {"datacenters": "dc1"}}', "dev.datacenters: it takes a list"),
        ('{"dev": {"driver": "qemu"}}', "dev.driver: it takes one of raw_exec, exec, docker"),
        ('{"dev": {"driver": "docker"}}', "dev.image"),
        ('{"dev": {"constraints": [{"name": "x"}]}}', "dev.constraints: each takes attribute"),
        ('{"dev": {"constraints": [{"attribute": "x", "value": 1}]}}', "each part is a text"),
    ],
)
def test_a_site_that_cannot_be_used_is_named(text: str, names: str) -> None:
    with pytest.raises(BadSite) as caught:
        read(text, Regions(), WAYS)
    assert names in str(caught.value)


def test_a_frozen_run_goes_to_no_node_of_another_type_by_a_job_of_its_own() -> None:
    unfit = Unfit("abc123", ("node-2", "node-1"))
    named, plain = job("env_1", "deployment_1", "micro", SITE, TERMS, unfit=unfit), made("micro")
    assert (named["ID"], plain["ID"]) == (f"{plain['ID']}-abc123", job_id("env_1", "deployment_1", "micro"))
    assert named["Constraints"] == [
        *plain["Constraints"],
        {"LTarget": "${node.unique.id}", "RTarget": "node-1", "Operand": "!="},
        {"LTarget": "${node.unique.id}", "RTarget": "node-2", "Operand": "!="},
    ]
    same = job("env_1", "deployment_1", "micro", SITE, TERMS, unfit=Unfit("abc123", ("node-1", "node-2")))
    assert named["Meta"][SPEC_META] == same["Meta"][SPEC_META] != plain["Meta"][SPEC_META]
