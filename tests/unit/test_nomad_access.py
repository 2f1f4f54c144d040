"""The cluster is named by Nomad's own variables; what leads there reaches one process and no output."""

from __future__ import annotations

import pytest

from sojourn.control_plane.config import SettingError, load, to_environment
from sojourn.control_plane.nomad_access import NomadAccess, nomad_access
from sojourn.control_plane.nomad_client import nomad_client

EVERYTHING = {
    "NOMAD_ADDR": "https://u:private@nomad.example:4646/",
    "NOMAD_TOKEN": "private-token",
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
        address="https://u:private@nomad.example:4646",
        token="private-token",
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
    assert "private" not in str(others)
    assert load(others).placement == "nomad"
    assert load(to_environment(config, scheduler=True)) == config


def test_nothing_secret_is_printed() -> None:
    config = load(EVERYTHING)
    assert "private" not in repr(config) + repr(nomad_access(config)) + str(nomad_access(config))


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
