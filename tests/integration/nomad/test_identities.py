"""A task of the private Nomad can prove what it is, to whoever reads the public keys."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from tests.support.stack import until

from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.control_plane.nomad_client import nomad_client, signing_keys


def test_a_task_has_an_identity_that_the_keys_confirm(nomad_agent: NomadAgent, tmp_path: Path) -> None:
    client = nomad_client(nomad_agent.access)
    told = tmp_path / "identity"
    client.jobs.request(
        json={"Job": job(f"cp secrets/nomad_sojourn.jwt {told}.new && mv {told}.new {told}")}, method="post"
    )
    child = client.job.dispatch_job("proves")["DispatchedJobID"]
    until(told.exists, 30, "the task has told its identity")
    head, body, signature = told.read_text().strip().split(".")
    key = next(each for each in signing_keys(client) if each["kid"] == document(head)["kid"])
    confirm(key, f"{head}.{body}", signature)
    claims = document(body)
    assert (claims["aud"], claims["nomad_namespace"], claims["nomad_task"]) == ("sojourn", "sojourn", "task")
    # Of a dispatched job it names the parent. Which child it is only its allocation says.
    assert claims["nomad_job_id"] == "proves"
    assert claims["exp"] - claims["iat"] == 300
    allocation = client.job.get_allocations(child)[0]["ID"]
    assert claims["nomad_allocation_id"] == allocation
    with pytest.raises(InvalidSignature):
        confirm(key, f"{head}.{body[:-4]}AAAA", signature)


def job(script: str) -> dict[str, Any]:
    """A parameterized job whose task gets an identity for Sojourn, good for five minutes."""
    task = {
        "Name": "task",
        "Driver": "raw_exec",
        "Config": {"command": "/bin/sh", "args": ["-c", script]},
        "Identities": [{"Name": "sojourn", "Audience": ["sojourn"], "File": True, "TTL": 300 * 10**9}],
        "Resources": {"CPU": 10, "MemoryMB": 16},
    }
    groups = [{"Name": "group", "Tasks": [task]}]
    settings = {"Type": "batch", "Datacenters": ["*"], "ParameterizedJob": {"Payload": "forbidden"}}
    return {"ID": "proves", "Namespace": "sojourn", "TaskGroups": groups, **settings}


def confirm(key: dict[str, Any], text: str, signature: str) -> None:
    """`InvalidSignature` unless the key made it."""
    assert (key["kty"], key["alg"]) == ("RSA", "RS256")
    public = RSAPublicNumbers(int.from_bytes(decoded(key["e"])), int.from_bytes(decoded(key["n"]))).public_key()
    public.verify(decoded(signature), text.encode(), PKCS1v15(), SHA256())


def document(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(decoded(part))
    return found


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
