"""B03 and B16: who may not come in learns nothing by how long it takes, since the same work is done for all of them.

Shown by what is done, not by a clock: what is hashed, which statements are sent, and how PostgreSQL goes about them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from falcon import testing

from sojourn.control_plane.store import keys as stored_keys
from sojourn.control_plane.store import personal_tokens as stored_tokens
from sojourn.control_plane.store.database import Database
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant

READ = "/api/v1/runs"


@contextmanager
def sent(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """The statements that are sent meanwhile, with their parameters."""
    found: list[tuple[str, tuple[Any, ...]]] = []
    rows = database.rows
    with monkeypatch.context() as patch:

        def noted(statement: str, *parameters: Any) -> Any:
            found.append((statement, parameters))
            return rows(statement, *parameters)

        patch.setattr(database, "rows", noted)
        yield found


@contextmanager
def hashed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is hashed meanwhile to be looked up."""
    found: list[str] = []
    original = stored_keys.hashed

    def noted(text: str) -> str:
        found.append(text)
        return original(text)

    with monkeypatch.context() as patch:
        patch.setattr(stored_keys, "hashed", noted)
        patch.setattr(stored_tokens, "hashed", noted)
        yield found


def plan(database: Database, statement: str, parameters: tuple[Any, ...]) -> Any:
    """How PostgreSQL goes about a statement: its steps and their indexes, without what they are expected to cost.

    Those that are compared are asked for one after the other, since it learns of its tables meanwhile.
    """
    [row] = database.rows(f"EXPLAIN (FORMAT JSON, COSTS OFF) {statement}", *parameters)
    return _steps(row["QUERY PLAN"][0]["Plan"])


def _steps(node: dict[str, Any]) -> tuple[Any, ...]:
    below = tuple(_steps(child) for child in node.get("Plans", ()))
    return (node["Node Type"], node.get("Relation Name"), node.get("Index Name"), below)


def made(tenant: Tenant, **options: Any) -> tuple[str, str]:
    """A new key's id and secret."""
    answer = tenant.client.simulate_post("/api/v1/keys", json=options)
    assert answer.status_code == 200, answer.text
    return answer.json["id"], answer.json["key"]


@pytest.fixture(scope="module")
def keys(platform: Platform, tenant: Tenant) -> dict[str, str]:
    """A key that opens nothing, of each kind."""
    revoked, expired, part = made(tenant), made(tenant), made(tenant, scopes=["read:runs"])
    assert tenant.client.simulate_post(f"/api/v1/keys/{revoked[0]}/revoke").status_code == 200
    assert tenant.client.simulate_post(f"/api/v1/keys/{part[0]}/revoke").status_code == 200
    over = platform.clock() - timedelta(seconds=1)
    platform.database.rows("UPDATE api_keys SET expires_at = %s WHERE id = %s", over, expired[0])
    right = tenant.key
    other = "A" if right[-1] != "A" else "B"
    return {
        "unknown": right[:7] + "x" * (len(right) - 7),
        "revoked": revoked[1],
        "revoked, for a part": part[1],
        "expired": expired[1],
        "of a wrong prefix": "tr_prod_" + right.rpartition("_")[2],
        "all but the last character": right[:-1] + other,
        "all but the first": right[:7] + other + right[8:],
        "in another case": right[:7] + right[7:].swapcase(),
        "longer": right + "x",
    }


def test_b16_every_refused_key_costs_the_same(
    platform: Platform, keys: dict[str, str], anonymous: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is hashed whole before anything is looked for, by one statement, which goes the same way; the answer is one."""
    database, works, answers = platform.database, [], {}
    for kind, key in keys.items():
        with hashed(monkeypatch) as texts, sent(database, monkeypatch) as statements:
            answers[kind] = anonymous.simulate_get(READ, headers={"Authorization": f"Bearer {key}"})
        assert texts == [key], f"{kind}: all of it, once"
        [(statement, parameters)] = statements
        digest = hashlib.sha256(key.encode()).hexdigest()
        assert parameters[0] == [digest, f"part:{digest}"], f"{kind}: nothing but its hash is looked for"
        works.append((statement, parameters))
    assert len({(statement, plan(database, statement, parameters)) for statement, parameters in works}) == 1
    assert {answer.status_code for answer in answers.values()} == {401}
    assert len({answer.content for answer in answers.values()}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers.values()}) == 1


def test_b16_every_refused_personal_token_costs_the_same(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, tokens = platform.clock(), platform.access.personal_tokens
    revoked, expired = tokens.create(tenant.organization, now), tokens.create(tenant.organization, now, until=now)
    tokens.revoke(tenant.organization, revoked[0].id, now)
    works = []
    for token in (revoked[1], expired[1], "tr_pat_" + "x" * 40, revoked[1][:-1] + "0"):
        with hashed(monkeypatch) as texts, sent(platform.database, monkeypatch) as statements:
            answer = anonymous.simulate_get("/api/v1/projects", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401 and texts == [token]
        [(statement, parameters)] = statements
        works.append((statement, parameters))
    assert len({(statement, plan(platform.database, statement, parameters)) for statement, parameters in works}) == 1


@pytest.mark.parametrize(
    ("path", "make"),
    [
        ("/api/v3/runs/{}", ("/api/v1/tasks/alike/trigger", {})),
        ("/api/v1/waitpoints/tokens/{}", ("/api/v1/waitpoints/tokens", {})),
        ("/api/v1/webhooks/{}", ("/api/v1/webhooks", {"url": "https://example.com/"})),
        ("/api/v2/batches/{}", ("/api/v3/batches", {"runCount": 1})),
    ],
)
def test_b03_a_right_key_and_anothers_object_cost_the_same_as_nobodys(
    platform: Platform,
    tenant: Tenant,
    stranger: Tenant,
    path: str,
    make: tuple[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`test_two_tenants.py` compares answers and statements for every address; here, how PostgreSQL goes about them."""
    theirs = tenant.client.simulate_post(make[0], json=make[1]).json["id"]
    nobodys = theirs.partition("_")[0] + "_" + "0" * 26
    stranger.client.simulate_get(path.format(nobodys))  # what a process looks up once is looked up
    works = []
    for name in (theirs, nobodys):
        with sent(platform.database, monkeypatch) as statements:
            answer = stranger.client.simulate_get(path.format(name))
        assert answer.status_code == 404
        works.append(statements)
    of_theirs, of_nobodys = (
        [(statement, plan(platform.database, statement, given)) for statement, given in asked] for asked in works
    )
    assert of_theirs == of_nobodys != []
