"""The cluster is named by Nomad's own variables; what leads there reaches one process and no output."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sojourn.control_plane.config import SettingError, load, to_environment
from sojourn.control_plane.nomad_access import NomadAccess, nomad_access, nomad_clusters, token_variables
from sojourn.control_plane.nomad_client import nomad_client

EVERYTHING = {
    "NOMAD_ADDR": "https://u:hidden@nomad.example:4646/",
    "NOMAD_TOKEN": "hidden-token",
    "NOMAD_NAMESPACE": "runs",
    "NOMAD_REGION": "eu",
    "NOMAD_CACERT": "/ca.pem",
    "NOMAD_CLIENT_CERT": "/client.pem",
    "NOMAD_CLIENT_KEY": "/client-key.pem",
    "NOMAD_TLS_SERVER_NAME": "server.eu.nomad",
    "NOMAD_SKIP_VERIFY": "true",
}


def test_every_variable_of_nomad_s_is_understood() -> None:
    assert nomad_access(load(EVERYTHING)) == NomadAccess(
        address="https://u:hidden@nomad.example:4646",
        token="hidden-token",
        namespace="runs",
        region="eu",
        ca_cert="/ca.pem",
        client_cert="/client.pem",
        client_key="/client-key.pem",
        tls_server_name="server.eu.nomad",
        skip_verify=True,
    )


@pytest.mark.parametrize(
    ("environment", "placement"),
    [
        ({}, "local"),
        (EVERYTHING, "nomad"),
        (EVERYTHING | {"SOJOURN_PLACEMENT": "local"}, "local"),
        ({"SOJOURN_PLACEMENT": "Nomad"}, "nomad"),
    ],
)
def test_where_executors_run(environment: dict[str, str], placement: str) -> None:
    assert load(environment).placement == placement


def test_the_scheduler_needs_an_address() -> None:
    with pytest.raises(SettingError, match="NOMAD_ADDR is not set"):
        nomad_access(load({"SOJOURN_PLACEMENT": "nomad"}))


def test_only_the_scheduler_s_environment_leads_to_the_cluster() -> None:
    config = load(EVERYTHING)
    others = to_environment(config)
    assert not [name for name in others if name.startswith("NOMAD_")]
    assert "hidden" not in str(others)
    assert load(others).placement == "nomad"
    assert load(to_environment(config, scheduler=True)) == config


def test_nothing_secret_is_printed() -> None:
    config = load(EVERYTHING)
    assert "hidden" not in repr(config) + repr(nomad_access(config)) + str(nomad_access(config))


def test_the_namespace_is_our_own_unless_named() -> None:
    assert nomad_access(load({"NOMAD_ADDR": "http://127.0.0.1:4646"})).namespace == "sojourn"


@pytest.mark.parametrize(
    ("given", "verify", "cert"),
    [
        ({}, True, ()),
        ({"ca_cert": "/ca.pem"}, "/ca.pem", ()),
        ({"ca_cert": "/ca.pem", "skip_verify": True}, False, ()),
        ({"client_cert": "/c.pem", "client_key": "/k.pem"}, True, ("/c.pem", "/k.pem")),
    ],
)
def test_certificates_are_checked_unless_told_otherwise(given: dict[str, str], verify: object, cert: object) -> None:
    client = nomad_client(NomadAccess("https://nomad.example:4646", **given))  # type: ignore[arg-type]
    assert (client.verify, client.cert) == (verify, cert)


@pytest.mark.parametrize(("address", "asked"), [("http://127.0.0.1:1", False), ("http://nomad.example", True)])
def test_a_proxy_is_never_asked_for_this_machine(address: str, asked: bool) -> None:
    assert nomad_client(NomadAccess(address)).session.trust_env is asked


ENTRY = {"address": "https://u:hidden@eu.example:4646/"}
PLACES = {"SOJOURN_NOMAD_PLACES": "7", "SOJOURN_NOMAD_SUBMISSIONS": "3"}


def test_further_clusters_have_all_that_the_first_has(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hidden-eu\n")
    options = {
        "token_file": str(tmp_path / "token"), "namespace": "runs", "region": "europe", "cacert": "/ca.pem",
        "client_cert": "/c.pem", "client_key": "/k.pem", "tls_server_name": "server.europe.nomad", "skip_verify": True,
    }  # fmt: skip
    file = tmp_path / "clusters.json"
    file.write_text(json.dumps({"eu-1": {**ENTRY, **options}, "us-1": {"address": "http://us", "places": 2}}))
    config = load(EVERYTHING | PLACES | {"SOJOURN_NOMAD_CLUSTERS": str(file)})
    first, eu, us = nomad_clusters(config).values()
    assert (first.name, first.access, first.places, first.submissions) == ("default", nomad_access(config), 7, 3)
    assert eu.access == NomadAccess(
        address="https://u:hidden@eu.example:4646",
        token="hidden-eu",
        namespace="runs",
        region="europe",
        ca_cert="/ca.pem",
        client_cert="/c.pem",
        client_key="/k.pem",
        tls_server_name="server.europe.nomad",
        skip_verify=True,
    )
    assert (us.name, us.access, us.places, us.submissions) == ("us-1", NomadAccess("http://us"), 2, 3)
    assert "hidden" not in repr((first, eu, us)) + repr(config)


def test_a_token_may_be_in_a_variable_that_no_other_process_inherits() -> None:
    entry = {"eu-1": {**ENTRY, "token_variable": "NOMAD_TOKEN_EU"}}
    config = load(EVERYTHING | {"SOJOURN_NOMAD_CLUSTERS": json.dumps(entry)})
    assert nomad_clusters(config, {"NOMAD_TOKEN_EU": "hidden-eu"})["eu-1"].access.token == "hidden-eu"
    assert token_variables(config) == {"NOMAD_TOKEN_EU"}
    others = to_environment(config)
    assert not any("eu-1" in value for value in others.values())
    assert load(to_environment(config, scheduler=True)) == config


@pytest.mark.parametrize(
    ("clusters", "why"),
    [
        ([1], "takes a JSON object, or the path of a file"),
        ({"eu": 1}, "eu: it takes an object"),
        ({"default": ENTRY}, "default: it takes another name"),
        ({"e|u": ENTRY}, "it takes another name"),
        ({"eu": {}}, "eu.address: it takes a URL"),
        ({"eu": {"address": "u:hidden@eu"}}, "eu.address: it takes a URL"),
        ({"eu": {"address": "http://u:hidden@eu:port"}}, "eu.address: it takes a URL"),
        ({"eu": {**ENTRY, "token": "hidden"}}, "eu: it takes of the options address, token_file, token_variable"),
        ({"eu": {**ENTRY, "token_file": "/nowhere/hidden-no"}}, "eu.token_file: it takes the path of a file"),
        ({"eu": {**ENTRY, "token_file": 1}}, "eu.token_file: it takes the path of a file"),
        ({"eu": {**ENTRY, "token_variable": "EU_TOKEN"}}, "token_variable: it takes the name .* begins with NOMAD_"),
        ({"eu": {**ENTRY, "token_variable": "NOMAD_TOKEN_NONE"}}, "token_variable: .* that the scheduler has"),
        ({"eu": {**ENTRY, "token_file": "/a", "token_variable": "NOMAD_A"}}, "token_file or token_variable, not both"),
        ({"eu": {**ENTRY, "namespace": 1}}, "eu.namespace: it takes a text"),
        ({"eu": {**ENTRY, "skip_verify": "yes"}}, "eu.skip_verify: it takes true or false"),
        ({"eu": {**ENTRY, "places": 0}}, "eu.places: it takes a whole number from 1 to 100000"),
        ({"eu": {**ENTRY, "submissions": "1"}}, "eu.submissions: it takes a whole number"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_named_without_a_secret(clusters: Any, why: str) -> None:
    with pytest.raises(SettingError, match=why) as caught:
        nomad_clusters(load(EVERYTHING | {"SOJOURN_NOMAD_CLUSTERS": json.dumps(clusters)}))
    told = str(caught.value)
    assert told.startswith("SOJOURN_NOMAD_CLUSTERS cannot be") and len(told.splitlines()) == 1
    assert "hidden" not in told
