"""An allocation becomes the executor that it was placed to be: once, for its own run, and for nobody else.

Keys and tokens are made here as Nomad makes them; that Nomad's own are taken, the acceptance tests show.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from falcon import testing

from sojourn.control_plane.api.models.worker import IdentityReply
from sojourn.control_plane.engine.attempts import NextRequest
from sojourn.control_plane.engine.placing import Order
from sojourn.control_plane.store.records import Executor
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, next_order

CLUSTER, NAMESPACE = "default", "sojourn"


class Cluster:
    """Signs as a Nomad server does."""

    def __init__(self, kind: str = "RS256"):
        self.kind = kind
        self.kid = str(uuid.uuid4())
        self.key: Any
        if kind == "RS256":
            self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            algorithm: Any = jwt.algorithms.RSAAlgorithm
        else:
            self.key = ed25519.Ed25519PrivateKey.generate()
            algorithm = jwt.algorithms.OKPAlgorithm
        jwk = json.loads(algorithm.to_jwk(self.key.public_key()))
        self.jwk = {**jwk, "kid": self.kid, "use": "sig", "alg": kind}

    def publish(self, platform: Platform, cluster: str = CLUSTER) -> None:
        platform.cluster_keys.replace(cluster, [(self.kid, json.dumps(self.jwk))], platform.clock())

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode(claims, self.key, algorithm=self.kind, headers={"kid": self.kid, **header})


@pytest.fixture
def cluster(platform: Platform) -> Cluster:
    made = Cluster()
    made.publish(platform)
    return made


class Placed:
    """A run that is promised to an executor, which was placed on a cluster."""

    def __init__(self, platform: Platform, tenant: Tenant):
        self.platform = platform
        tenant.deploy(["hello"])
        self.run = tenant.trigger()
        self.order = self._order()
        identity = self.order.identity
        self.executor = identity.executor
        self.job = f"sojourn-{identity.environment}-{identity.version}-{identity.machine}"
        self.allocation = str(uuid.uuid4())
        row: dict[str, Any] = dict.fromkeys(Executor.__slots__) | {
            "id": identity.executor, "organization_id": identity.organization, "environment_id": identity.environment,
            "version_id": identity.version, "machine": identity.machine, "region": identity.region,
            "lane": self.order.lane, "run_id": self.run, "snapshot": self.order.run.snapshot, "cluster": CLUSTER,
            "namespace": NAMESPACE, "job_id": self.job,
            "placed_at": platform.clock(),
        }  # fmt: skip
        assert platform.executors.insert(Executor(**row))

    def _order(self) -> Order:
        while True:
            order = next_order(self.platform)
            if order.run.id == self.run:
                return order

    def claims(self, **more: Any) -> dict[str, Any]:
        now = self.platform.clock().timestamp()
        return {
            "aud": "sojourn", "iat": now, "nbf": now, "exp": now + 900, "jti": str(uuid.uuid4()),
            "nomad_namespace": NAMESPACE, "nomad_job_id": self.job, "nomad_allocation_id": self.allocation,
            "nomad_task": "shim", "sub": f"global:{NAMESPACE}:{self.job}:executor:shim:sojourn",
        } | more  # fmt: skip


@pytest.fixture
def placed(platform: Platform, tenant: Tenant) -> Placed:
    return Placed(platform, tenant)


@pytest.fixture
def swap(anonymous: testing.TestClient) -> Callable[[str, str], testing.Result]:
    def one(identity: str, executor: str) -> testing.Result:
        headers = {"Authorization": f"Bearer {identity}"}
        return anonymous.simulate_post("/worker/v1/identity", json={"executor": executor}, headers=headers)

    return one


Swap = Callable[[str, str], testing.Result]


@pytest.mark.parametrize("kind", ["RS256", "EdDSA"])
def test_the_expected_allocation_gets_its_executors_credential(
    platform: Platform, anonymous: testing.TestClient, placed: Placed, swap: Swap, kind: str
) -> None:
    cluster = Cluster(kind)
    cluster.publish(platform)
    answer = swap(cluster.sign(placed.claims()), placed.executor)
    assert answer.status_code == 200, answer.text
    IdentityReply.model_validate(answer.json)
    assert answer.json["settings"]["version_hash"] == placed.order.version_hash
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200, "its answer may have been lost"
    headers = {"Authorization": f"Bearer {answer.json['credential']}"}
    work = anonymous.simulate_post("/worker/v1/next", json={"request": "r", "wait": 0}, headers=headers).json["work"]
    assert work["run"]["id"] == placed.run
    again = swap(cluster.sign(placed.claims()), placed.executor)
    assert (again.status_code, again.json["code"]) == (409, "PLACEMENT_OVER"), "the credential was used"
    row = platform.executors.find(placed.executor)
    assert row is not None and row.allocation_id == placed.allocation and row.admitted_at is not None


REFUSED: dict[str, Callable[[Cluster, Placed], str]] = {
    "another audience": lambda cluster, placed: cluster.sign(placed.claims(aud="vault.io")),
    "no audience": lambda cluster, placed: cluster.sign(_without(placed.claims(), "aud")),
    "expired": lambda cluster, placed: cluster.sign(placed.claims(exp=placed.claims()["exp"] - 1000)),
    "no expiry": lambda cluster, placed: cluster.sign(_without(placed.claims(), "exp")),
    "an expiry that is no number": lambda cluster, placed: cluster.sign(_raw(placed.claims(), exp="later")),
    "not valid yet": lambda cluster, placed: cluster.sign(placed.claims(nbf=placed.claims()["exp"])),
    "no allocation": lambda cluster, placed: cluster.sign(_without(placed.claims(), "nomad_allocation_id")),
    "a job that is no text": lambda cluster, placed: cluster.sign(placed.claims(nomad_job_id=7)),
    "another's signature": lambda cluster, placed: Cluster().sign(placed.claims(), kid=cluster.kid),
    "another algorithm": lambda cluster, placed: jwt.encode(
        placed.claims(), "x" * 32, algorithm="HS256", headers={"kid": cluster.kid}
    ),
    "a public key as a secret": lambda cluster, placed: _hmac_of_public_key(cluster, placed.claims()),
    "no algorithm": lambda cluster, placed: jwt.encode(placed.claims(), "", algorithm="none", headers={"kid": cluster.kid}),
    "no key id": lambda cluster, placed: jwt.encode(placed.claims(), cluster.key, algorithm="RS256"),
    "changed claims": lambda cluster, placed: _changed(cluster.sign(placed.claims())),
    "an expiry without end": lambda cluster, placed: cluster.sign(_raw(placed.claims(), exp=float("inf"))),
    "an expiry that is not a number": lambda cluster, placed: cluster.sign(_raw(placed.claims(), exp=float("nan"))),
    "an expiry that is true": lambda cluster, placed: cluster.sign(_raw(placed.claims(), exp=True)),
    "a beginning without beginning": lambda cluster, placed: cluster.sign(_raw(placed.claims(), nbf=float("-inf"))),
    "a key of its own": lambda cluster, placed: _with_its_key(cluster, placed.claims()),
    "something critical": lambda cluster, placed: jwt.encode(
        placed.claims(), cluster.key, algorithm="RS256", headers={"kid": cluster.kid, "crit": ["exp"]}
    ),
    "encrypted": lambda cluster, placed: ".".join(["e30"] * 5),
    "a megabyte": lambda cluster, placed: cluster.sign(placed.claims()) + "x" * 1_000_000,
    "no token": lambda cluster, placed: "nothing",
    "an executor's credential": lambda cluster, placed: placed.order.credential,
    "two dots of nothing": lambda cluster, placed: "e30.e30.e30",
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_proves_nothing_is_refused_alike(cluster: Cluster, placed: Placed, swap: Swap, case: str) -> None:
    answer = swap(REFUSED[case](cluster, placed), placed.executor)
    assert (answer.status_code, answer.json["code"]) == (401, "IDENTITY_REFUSED")
    assert answer.json["error"] == "The workload identity is not valid."
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200


def test_clocks_may_be_a_minute_apart(cluster: Cluster, placed: Placed, swap: Swap) -> None:
    late = placed.claims()["iat"] - 30
    assert swap(cluster.sign(placed.claims(exp=late)), placed.executor).status_code == 200


def test_an_unknown_key_is_asked_for(platform: Platform, placed: Placed, swap: Swap) -> None:
    unknown = Cluster()
    platform.wakeups.wait("keys", 0.01)
    answer = swap(unknown.sign(placed.claims()), placed.executor)
    assert (answer.status_code, answer.json["code"]) == (503, "KEY_UNKNOWN")
    assert answer.headers["retry-after"] == "1"
    assert platform.wakeups.wait("keys", 60), "the scheduler is asked to fetch keys"
    unknown.publish(platform)
    assert swap(unknown.sign(placed.claims()), placed.executor).status_code == 200


NOT_EXPECTED: dict[str, dict[str, Any]] = {
    "another job": {"nomad_job_id": "sojourn-env_other-version-small-1x"},
    "another namespace": {"nomad_namespace": "default"},
}


@pytest.mark.parametrize("case", sorted(NOT_EXPECTED))
def test_another_jobs_allocation_is_not_expected(cluster: Cluster, placed: Placed, swap: Swap, case: str) -> None:
    is_refused(swap(cluster.sign(placed.claims(**NOT_EXPECTED[case])), placed.executor))
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200


def test_another_clusters_key_opens_nothing(platform: Platform, placed: Placed, swap: Swap) -> None:
    foreign = Cluster()
    foreign.publish(platform, "elsewhere")
    is_refused(swap(foreign.sign(placed.claims()), placed.executor))


def test_a_replacement_is_refused_when_the_first_was_admitted(cluster: Cluster, placed: Placed, swap: Swap) -> None:
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200
    is_refused(swap(cluster.sign(placed.claims(nomad_allocation_id=str(uuid.uuid4()))), placed.executor))


def test_a_cluster_may_be_known_by_two_names(platform: Platform, placed: Placed, swap: Swap) -> None:
    """Two entries of the settings, such as two namespaces, are one cluster with one key: either may be what placed."""
    cluster = Cluster()
    for name in ("another", CLUSTER, "zz-top"):
        cluster.publish(platform, name)
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200


def test_a_key_that_is_called_like_another_clusters_opens_nothing_there(
    platform: Platform, cluster: Cluster, placed: Placed, swap: Swap
) -> None:
    """Nor does it shut the other out."""
    rogue = Cluster()
    platform.cluster_keys.replace(
        "a-rogue", [(cluster.kid, json.dumps(rogue.jwk | {"kid": cluster.kid}))], platform.clock()
    )
    is_refused(swap(rogue.sign(placed.claims(), kid=cluster.kid), placed.executor))
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200


def test_a_replacement_is_refused_when_nomad_told_of_the_first(
    platform: Platform, cluster: Cluster, placed: Placed, swap: Swap
) -> None:
    told = {"child_job_id": f"{placed.job}/dispatch-1", "node_id": "n", "node_name": "node"}
    assert platform.executors.bind(placed.executor, allocation_id=placed.allocation, **told)
    assert not platform.executors.bind(placed.executor, allocation_id=str(uuid.uuid4()), **told)
    is_refused(swap(cluster.sign(placed.claims(nomad_allocation_id=str(uuid.uuid4()))), placed.executor))
    assert swap(cluster.sign(placed.claims()), placed.executor).status_code == 200


def test_an_executor_that_is_given_up_is_not_admitted(
    platform: Platform, cluster: Cluster, placed: Placed, swap: Swap
) -> None:
    now = platform.clock()
    assert platform.executors.end(placed.executor, now, exit_code=None, cause="LOST", reason="its node is lost")
    assert not platform.executors.end(placed.executor, now, exit_code=0, cause="EXITED", reason="late")
    is_refused(swap(cluster.sign(placed.claims()), placed.executor))


def test_a_run_that_moved_on_admits_nobody(platform: Platform, cluster: Cluster, placed: Placed, swap: Swap) -> None:
    platform.placing.return_order(placed.order, "nobody came", platform.clock())
    is_refused(swap(cluster.sign(placed.claims()), placed.executor))


def test_one_that_is_kept_is_admitted_until_it_has_asked_for_a_run(
    platform: Platform, cluster: Cluster, placed: Placed, swap: Swap
) -> None:
    """It was placed for no run that could have moved on."""
    platform.database.rows("UPDATE executors SET run_id = NULL, snapshot = NULL WHERE id = %s", placed.executor)
    identity = cluster.sign(placed.claims())
    assert [swap(identity, placed.executor).status_code for _ in range(2)] == [200, 200]
    platform.attempts.next(placed.order.identity, NextRequest(wait=0, served=0, isolation="sandbox"), platform.clock())
    assert swap(identity, placed.executor).status_code == 409


def test_a_cancelled_run_admits_nobody(tenant: Tenant, cluster: Cluster, placed: Placed, swap: Swap) -> None:
    assert tenant.client.simulate_post(f"/api/v2/runs/{placed.run}/cancel").status_code == 200
    is_refused(swap(cluster.sign(placed.claims()), placed.executor))


def test_an_unknown_executor_is_not_expected(cluster: Cluster, placed: Placed, swap: Swap) -> None:
    is_refused(swap(cluster.sign(placed.claims()), f"executor_{secrets.token_hex(4)}"))


def test_a_key_that_the_cluster_no_longer_has_is_forgotten(platform: Platform, placed: Placed, swap: Swap) -> None:
    old, new = Cluster(), Cluster()
    old.publish(platform)
    assert platform.cluster_keys.find(old.kid)
    new.publish(platform)
    assert platform.cluster_keys.find(old.kid) == []
    assert swap(old.sign(placed.claims()), placed.executor).json["code"] == "KEY_UNKNOWN"


def test_ends_are_told_once(platform: Platform, placed: Placed) -> None:
    now = platform.clock()
    platform.executors.end(placed.executor, now, exit_code=1, cause="EXITED", reason="its process exited with code 1")
    told = [row.id for row in platform.executors.untold(CLUSTER, 1000)]
    assert placed.executor in told
    platform.executors.tell(told, now)
    assert placed.executor not in [row.id for row in platform.executors.untold(CLUSTER, 1000)]
    removable = platform.executors.removable(CLUSTER, now + timedelta(seconds=1), 1000)
    assert placed.executor in [row.id for row in removable]
    platform.executors.removed([placed.executor], now)
    assert platform.executors.forget(now + timedelta(seconds=1), 1000) >= 1
    assert platform.executors.find(placed.executor) is None


def is_refused(answer: testing.Result) -> None:
    assert (answer.status_code, answer.json["code"]) == (409, "PLACEMENT_OVER"), answer.text


def _without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in claims.items() if key != name}


def _raw(claims: dict[str, Any], **more: Any) -> dict[str, Any]:
    return claims | more


def _with_its_key(cluster: Cluster, claims: dict[str, Any]) -> str:
    """Signed by a key that the token itself brings along, under the name of the cluster's."""
    other = Cluster()
    return other.sign(claims, kid=cluster.kid, jwk=other.jwk, jku="http://127.0.0.1/", x5u="http://127.0.0.1/")


def _changed(token: str) -> str:
    head, body, signature = token.split(".")
    told = jwt.utils.base64url_decode(body).decode().replace("sojourn-", "sojourm-")
    return ".".join([head, jwt.utils.base64url_encode(told.encode()).decode(), signature])


def _hmac_of_public_key(cluster: Cluster, claims: dict[str, Any]) -> str:
    """The classic confusion: the public key, which everybody has, taken for an HMAC secret."""
    import hmac
    from hashlib import sha256

    head = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": cluster.kid}).encode())
    body = jwt.utils.base64url_encode(json.dumps(claims).encode())
    secret = json.dumps(cluster.jwk).encode()
    signature = jwt.utils.base64url_encode(hmac.new(secret, head + b"." + body, sha256).digest())
    return b".".join([head, body, signature]).decode()
