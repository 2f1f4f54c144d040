"""Who may do what on the private agent: a management token for us, a namespace and a token of least rights for Sojourn."""

from __future__ import annotations

import uuid
from pathlib import Path

import nomad

from sojourn.control_plane.embedded.credentials import write_private
from sojourn.control_plane.nomad_access import NAMESPACE
from sojourn.control_plane.nomad_client import BaseNomadException

#: The policy's text; documentation and Terraform have it from there, too.
POLICY = Path(__file__).parents[2] / "nomad_jobs" / "platform" / "sojourn.policy.hcl"
_POLICY_NAME = "sojourn"
_ALREADY_DONE = 400
_MANAGEMENT, _RUN_TIME = "management.token", "run-time.token"


def management_token(directory: Path) -> str:
    """The secret that the agent is (to be) bootstrapped with.

    It is written before Nomad hears of it, so that a crash in between leaves no agent that nobody can manage.
    """
    return _kept(directory / _MANAGEMENT) or _keep(directory / _MANAGEMENT, str(uuid.uuid4()))


def known_run_time_token(directory: Path) -> str:
    """The secret that an earlier start was given; empty: none was."""
    return _kept(directory / _RUN_TIME).partition(" ")[2]


def bootstrap(client: nomad.Nomad, secret: str) -> None:
    """Makes `secret` the management token, unless that is done. python-nomad cannot send a secret of ours."""
    try:
        client.acl.request("bootstrap", json={"BootstrapSecret": secret}, method="post")
    except BaseNomadException as error:
        if getattr(error.nomad_resp, "status_code", 0) != _ALREADY_DONE:
            raise


def run_time_token(client: nomad.Nomad, directory: Path) -> str:
    """The namespace, the policy and a token of it, each made when it is not there. `client` has the management token."""
    client.namespace.create_namespace({"Name": NAMESPACE, "Description": "Runs of Sojourn"})
    client.acl.create_policy(
        _POLICY_NAME,
        {"Name": _POLICY_NAME, "Description": "Sojourn at run time", "Rules": POLICY.read_text(encoding="utf-8")},
    )
    known = {token["AccessorID"] for token in client.acl.get_tokens()}
    accessor, _, secret = _kept(directory / _RUN_TIME).partition(" ")
    if accessor in known:
        return secret
    made = client.acl.create_token({"Name": "sojourn", "Type": "client", "Policies": [_POLICY_NAME]})
    _keep(directory / _RUN_TIME, f"{made['AccessorID']} {made['SecretID']}")
    return str(made["SecretID"])


def _kept(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _keep(path: Path, text: str) -> str:
    write_private(path, text + "\n")
    return text
