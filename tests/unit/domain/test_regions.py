"""Which regions there are, where an environment's runs go, and what the two settings may not say."""

from __future__ import annotations

import pytest

from sojourn.control_plane.config import SettingError, load
from sojourn.control_plane.domain.due_runs import Entry
from sojourn.control_plane.domain.lanes import environment_of, lane_of, region_of
from sojourn.control_plane.domain.regions import DEFAULT, BadRegions, Region, Regions, read
from sojourn.control_plane.wiring import regions_of

REGIONS = '{"eu": {"cluster": "eu-1"}, "gpu": {"node_pool": "gpu"}}'


def test_default_is_always_there() -> None:
    assert Regions().names == read("", "").names == ("default",)
    assert read(REGIONS, "").names == ("default", "eu", "gpu")
    assert read(REGIONS, "").by_name["eu"] == Region("eu-1", {})
    assert read(REGIONS, "").by_name["gpu"] == Region("", {"node_pool": "gpu"})


@pytest.mark.parametrize(
    ("names", "region"), [(("env_1", "prod"), "eu"), (("env_2", "dev"), "default"), (("env_3", "test"), "gpu")]
)
def test_an_environment_s_runs_go_where_its_site_says(names: tuple[str, ...], region: str) -> None:
    sites = '{"*": {"region": "gpu"}, "prod": {"region": "eu", "priority": 60}, "env_2": {"region": "default"}}'
    assert read(REGIONS, sites).of_environment(*names) == region
    assert Regions().of_environment(*names) == DEFAULT


@pytest.mark.parametrize(
    ("regions", "sites", "why"),
    [
        ("{", "", "SOJOURN_REGIONS cannot be used: no JSON"),
        ("[1]", "", "SOJOURN_REGIONS cannot be used: it takes an object"),
        ('{"eu": "eu-1"}', "", "SOJOURN_REGIONS cannot be used: eu: it takes an object"),
        ('{"default": {}}', "", "default: that is the cluster of the NOMAD_ settings"),
        ('{"a b": {}}', "", "a b: a region's name has 1 to 64 letters, digits"),
        ('{"a|b": {}}', "", "a region's name has"),
        ('{"eu": {"cluster": 1}}', "", "eu.cluster: it takes a cluster's name"),
        (REGIONS, '{"prod": {"region": "us"}}', "SITES cannot be used: prod.region: it takes one of default, eu, gpu"),
        (REGIONS, '{"prod": {"region": ["eu"]}}', "prod.region: it takes one of default, eu, gpu"),
    ],
)
def test_what_cannot_be_used_is_named(regions: str, sites: str, why: str) -> None:
    with pytest.raises(BadRegions, match=why.replace("|", "[|]")):
        read(regions, sites)


def test_local_executors_have_one_region() -> None:
    assert regions_of(load({"SOJOURN_REGIONS": REGIONS})).names == ("default",)
    nomad = {"SOJOURN_REGIONS": REGIONS, "SOJOURN_PLACEMENT": "nomad"}
    assert regions_of(load(nomad)).names == ("default", "eu", "gpu")
    with pytest.raises(SettingError, match=r"prod\.region"):
        regions_of(load({**nomad, "SOJOURN_NOMAD_SITES": '{"prod": {"region": "us"}}'}))


def test_lanes_of_the_default_region_are_as_they_were() -> None:
    """What waited in Redis before there were regions is found again."""
    assert lane_of("env_1", "v", "micro") == lane_of("env_1", "v", "micro", "default") == "env_1|v|micro"
    other = Entry("r", "o", "env_1", "v", "micro", "q", "", 1, region="eu").lane
    assert (other, region_of(other), environment_of(other)) == ("env_1|v|micro|eu", "eu", "env_1")
    assert region_of("env_1|v|micro") == "default"
