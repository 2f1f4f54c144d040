"""A cluster with TLS on both sides: certificates are checked, ours is shown, the server may go by another name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.nomad_agent import required_binary
from tests.support.stack import until

from sojourn.control_plane.cluster import examine
from sojourn.control_plane.embedded import nomad_configuration, outside, process
from sojourn.control_plane.embedded.process import StartFailed
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import BaseNomadException, nomad_client

#: On loopback, and in no certificate.
HOST = "127.0.0.2"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NomadAccess]:
    """A server that wants a client's certificate, and everything that it takes to reach it."""
    binary, directory = required_binary(), tmp_path_factory.mktemp("tls")
    for arguments in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-cli"]):
        subprocess.run([binary, "tls", *arguments], cwd=directory, check=True, capture_output=True)
    ports = nomad_configuration.free_ports()
    told = nomad_configuration.server(directory / "data", ports, "global")
    told |= {"bind_addr": HOST, "acl": {"enabled": False}, "tls": tls(directory)}
    told["advertise"] = {name: told["advertise"][name].replace("127.0.0.1", HOST) for name in told["advertise"]}
    (directory / "agent.json").write_text(json.dumps(told))
    child = process.start([str(binary), "agent", f"-config={directory}/agent.json"], directory / "agent.log")
    access = NomadAccess(
        f"https://{HOST}:{ports.http}",
        namespace="default",
        ca_cert=str(directory / "nomad-agent-ca.pem"),
        client_cert=str(directory / "global-cli-nomad.pem"),
        client_key=str(directory / "global-cli-nomad-key.pem"),
        tls_server_name="server.global.nomad",
    )
    try:
        until(lambda: leads(access), 30, "it leads")
        yield access
    finally:
        child.kill()
        child.wait()


def tls(directory: Path) -> dict[str, object]:
    return {
        "http": True,
        "rpc": True,
        "verify_https_client": True,
        "ca_file": str(directory / "nomad-agent-ca.pem"),
        "cert_file": str(directory / "global-server-nomad.pem"),
        "key_file": str(directory / "global-server-nomad-key.pem"),
    }


def leads(access: NomadAccess) -> bool:
    try:
        return bool(nomad_client(access).status.leader.get_leader())
    except BaseNomadException:
        return False


def test_it_is_reached_with_everything_set(secured: NomadAccess) -> None:
    outside.check_nomad(secured)
    assert {finding.what: finding.state for finding in examine(secured)}["Nomad"] == "ok"


@pytest.mark.parametrize(
    ("less", "words"),
    [
        ({"tls_server_name": ""}, "certificate is not valid for '127.0.0.2'"),
        ({"ca_cert": ""}, "unable to get local issuer certificate"),
        ({"client_cert": "", "client_key": ""}, "certificate required"),
    ],
)
def test_what_is_missing_is_told(secured: NomadAccess, less: dict[str, str], words: str) -> None:
    access = replace(secured, **less)  # type: ignore[arg-type]
    with pytest.raises(StartFailed, match=r"^Nomad cannot be reached .*correct NOMAD_ADDR and the TLS settings") as caught:
        outside.check_nomad(access)
    assert words in str(caught.value)
    found = list(examine(access))
    assert [finding.state for finding in found] == ["bad"]
    assert words in found[0].text


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_certificate_goes_unchecked_when_told(secured: NomadAccess) -> None:
    assert leads(replace(secured, ca_cert="", tls_server_name="", skip_verify=True))
