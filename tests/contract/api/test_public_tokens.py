"""Public tokens through the real application: made, signed by others, refused, limited, used once."""

from __future__ import annotations

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from falcon import testing

from sojourn.control_plane import wsgi
from sojourn.control_plane.api.models.keys import ClaimsReply, PublicTokenReply
from sojourn.control_plane.engine.public_tokens import AUDIENCE, ISSUER
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant

MINT, CLAIMS, JWT = "/api/v1/auth/public-tokens", "/api/v1/auth/jwt/claims", "/api/v1/auth/jwt"
pytestmark = pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")


def mint(tenant: Tenant, *scopes: str, **body: Any) -> str:
    answer = tenant.client.simulate_post(MINT, json={"scopes": list(scopes), **body})
    assert answer.status_code == 200, answer.text
    PublicTokenReply.model_validate(answer.json)
    return str(answer.json["token"])


def holder(app: wsgi.App, token: str) -> testing.TestClient:
    return testing.TestClient(app, headers={"Authorization": f"Bearer {token}"})


def told(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def claims(tenant: Tenant, now: datetime, **other: Any) -> dict[str, Any]:
    """What an existing client signs with the root key."""
    given = {
        "sub": tenant.environment, "pub": True, "scopes": ["read:runs"], "iss": ISSUER, "aud": AUDIENCE,
        "iat": int(now.timestamp()), "exp": int(now.timestamp()) + 900,
    } | other  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


def reads(app: wsgi.App, token: str) -> testing.Result:
    return holder(app, token).simulate_get("/api/v1/runs")


# --- made


def test_a_token_is_what_other_libraries_take_it_for(tenant: Tenant, platform: Platform, app: wsgi.App) -> None:
    token = mint(tenant, "read:runs", "write:tags:a:b", realtime={"skipColumns": ["payload"]})
    root = platform.access.keys.root(tenant.environment, platform.clock())
    found = jwt.decode(token, root, algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)
    assert (found["sub"], found["pub"], found["scopes"]) == (tenant.environment, True, ["read:runs", "write:tags:a:b"])
    assert (found["exp"] - found["iat"], found["realtime"], "otu" in found) == (900, {"skipColumns": ["payload"]}, False)
    assert reads(app, token).status_code == 200
    assert platform.public_tokens.verify(token, platform.clock()).skip_columns == ("payload",)


def test_how_long_it_lives(tenant: Tenant, platform: Platform) -> None:
    now = platform.clock()
    for given, seconds in (("1h", 3600), ((now + timedelta(days=2)).isoformat(), 172_800), (int(now.timestamp()) + 60, 60)):
        assert abs(told(mint(tenant, "read:runs", expirationTime=given))["exp"] - now.timestamp() - seconds) < 5
    answer = tenant.client.simulate_post(JWT, json={"claims": {"scopes": ["read:runs"], "other": 1}})
    found = told(answer.json["token"])
    assert (found["exp"] - found["iat"], found["scopes"]) == (3600, ["read:runs"])
    assert told(tenant.client.simulate_post(JWT, json={}).json["token"])["scopes"] == []


def test_older_clients_make_what_others_do(tenant: Tenant) -> None:
    wanted = {"scopes": ["read:runs"], "otu": True, "realtime": {"skipColumns": ["payload"]}}
    found = told(tenant.client.simulate_post(JWT, json={"claims": wanted}).json["token"])
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize("path", [MINT, JWT])
def test_no_token_is_made_that_no_server_lets_in(tenant: Tenant, app: wsgi.App, path: str) -> None:
    scopes = [f"read:tags:{n:0400}" for n in range(20)]
    for count, status in ((12, 200), (20, 400)):
        body = {"scopes": scopes[:count]}
        answer = tenant.client.simulate_post(path, json=body if path == MINT else {"claims": body})
        assert answer.status_code == status
        if status == 200:
            assert holder(app, answer.json["token"]).simulate_get("/api/v1/runs").status_code == 403
        else:
            assert answer.json["field"] == "scopes" and "8000" in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["read"]}, "scopes.0"),
        ({"scopes": ["read:runs", "read:run:run_1"]}, "scopes.1"),
        ({"scopes": ["write:everything"]}, "scopes.0"),
        ({"scopes": ["manage:webhooks"]}, "scopes.0"),
        ({"scopes": ["read:runs"], "expirationTime": "31d"}, "expirationTime"),
        ({"scopes": ["read:runs"], "expirationTime": "soon"}, "expirationTime"),
        ({"scopes": ["read:runs"], "expirationTime": "0s"}, "expirationTime"),
        ({"scopes": ["read:runs"], "expirationTime": 1_000_000_000}, "expirationTime"),
        ({"scopes": ["read:runs"], "expirationTime": 2**53}, "expirationTime"),
        ({"scopes": ["read:runs"], "life": 1}, "life"),
    ],
)
def test_what_no_token_can_be(tenant: Tenant, body: dict[str, Any], field: str) -> None:
    answer = tenant.client.simulate_post(MINT, json=body)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "BODY_INVALID", field)


@pytest.mark.parametrize("path", [MINT, JWT])
def test_a_scope_that_no_route_needs_is_refused_by_name(tenant: Tenant, path: str) -> None:
    body = {"scopes": ["read:run:run_1"]}
    answer = tenant.client.simulate_post(path, json=body if path == MINT else {"claims": body})
    assert (answer.status_code, answer.json["code"]) == (400, "BODY_INVALID")
    assert answer.json["field"] == ("scopes.0" if path == MINT else "claims.scopes.0")
    assert "'read:run:run_1' is no scope of a public token" in answer.json["error"]
    assert answer.json["error"].endswith(
        "is one of runs, tasks, tags, batch, queues, schedules, deployments, waitpoints, all"
    )


def test_what_existing_clients_ask_for_is_made(tenant: Tenant) -> None:
    types = ("runs", "tasks", "tags", "batch", "waitpoints", "inputStreams", "sessions", "query", "envvars", "apiKeys")
    wanted = [f"{action}:{type_}:x" for action in ("read", "write") for type_ in types]
    assert told(mint(tenant, *wanted, "trigger:tasks:x", "batchTrigger:tasks:x"))["scopes"][: len(wanted)] == wanted


def test_a_scope_of_another_release_in_a_signed_token_grants_nothing(
    tenant: Tenant, app: wsgi.App, platform: Platform
) -> None:
    unknown = ["write:everything", "read:run:run_1", "read:prompts", "see", ""]
    for more, status in (([], 403), (["read:runs"], 200)):
        signed = jwt.encode(claims(tenant, platform.clock(), scopes=[*unknown, *more]), tenant.key, "HS256")
        assert reads(app, signed).status_code == status


def test_a_restricted_key_makes_no_more_than_it_has_and_a_token_makes_none(tenant: Tenant, app: wsgi.App) -> None:
    key = tenant.client.simulate_post("/api/v1/keys", json={"scopes": ["read:runs", "read:tags:a"]}).json["key"]
    answer = holder(app, key).simulate_post(MINT, json={"scopes": ["read:runs:x", "read:tags", "write:runs"]})
    assert (answer.status_code, answer.json["code"]) == (403, "scopes_exceed_key_access")
    assert answer.json["deniedScopes"] == ["read:tags", "write:runs"]
    assert reads(app, holder(app, key).simulate_post(MINT, json={"scopes": ["read:runs"]}).json["token"]).status_code == 200
    for path in (MINT, JWT, CLAIMS, "/api/v1/keys", "/api/v1/deployments"):
        refused = holder(app, mint(tenant, "admin")).simulate_post(path, json={"scopes": ["read:runs"]})
        assert (refused.status_code, refused.json["code"]) == (403, "unauthorized"), path


def test_what_a_client_signs_itself_counts(tenant: Tenant, app: wsgi.App, platform: Platform) -> None:
    answer = tenant.client.simulate_post(CLAIMS)
    ClaimsReply.model_validate(answer.json)
    assert answer.json == {"sub": tenant.environment, "pub": True}
    signed = jwt.encode(claims(tenant, platform.clock(), **answer.json, aud=[AUDIENCE, "x"]), tenant.key, "HS256")
    assert reads(app, signed).status_code == 200


def test_what_is_made_comes_with_a_token_for_it(tenant: Tenant, app: wsgi.App) -> None:
    run = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={})
    token, id_ = run.headers["x-trigger-jwt"], run.json["id"]
    assert (told(token)["scopes"], told(token)["exp"] - told(token)["iat"]) == (
        [f"read:runs:{id_}", f"write:inputStreams:{id_}"],
        3600,
    )
    assert json.loads(run.headers["x-trigger-jwt-claims"]) == {"sub": tenant.environment, "pub": True}
    assert holder(app, token).simulate_get(f"/api/v3/runs/{id_}").status_code == 200
    assert holder(app, token).simulate_get(f"/api/v3/runs/{tenant.trigger()}").status_code == 403
    assert holder(app, token).simulate_post(f"/api/v2/runs/{id_}/cancel").status_code == 403
    batch = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 1})
    assert told(batch.headers["x-trigger-jwt"])["scopes"] == [f"read:batch:{batch.json['id']}"]
    batch = tenant.client.simulate_post("/api/v2/tasks/batch", json={"items": [{"task": "hello"}]})
    one = holder(app, batch.headers["x-trigger-jwt"])
    found = one.simulate_get(f"/api/v2/batches/{batch.json['id']}")
    assert one.simulate_get(f"/api/v3/runs/{found.json['runs'][0]}").status_code == 200
    waitpoint = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={})
    token, id_ = waitpoint.headers["x-trigger-jwt"], waitpoint.json["id"]
    assert (told(token)["scopes"], told(token)["exp"] - told(token)["iat"]) == ([f"write:waitpoints:{id_}"], 86_400)
    done = holder(app, token).simulate_post(f"/api/v1/waitpoints/tokens/{id_}/complete", json={"data": 1})
    assert done.json == {"success": True}


def test_what_a_key_leads_to_is_not_shown_to_who_may_not_see_it(tenant: Tenant, app: wsgi.App) -> None:
    """Idempotency keys can be guessed: who may trigger is not to read what others have triggered."""
    options = {"options": {"idempotencyKey": "order-7"}}
    run = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json=options).json["id"]
    waitpoint = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={"idempotencyKey": "order-7"}).json["id"]
    batch = {"items": [{"task": "hello"}]}
    key = {"idempotency-key": "order-7"}
    batch_id = tenant.client.simulate_post("/api/v2/tasks/batch", json=batch, headers=key).json["id"]
    for scopes, shown in (
        (["trigger:tasks:hello", "batchTrigger:tasks:hello"], False),
        (["trigger:tasks:hello", "batchTrigger:tasks:hello", f"read:runs:{run}", f"read:batch:{batch_id}"], True),
    ):
        one = holder(app, mint(tenant, *scopes))
        again = one.simulate_post("/api/v1/tasks/hello/trigger", json=options)
        assert (again.json, "x-trigger-jwt" in again.headers) == ({"id": run, "isCached": True}, shown)
        again = one.simulate_post("/api/v2/tasks/batch", json=batch, headers=key)
        assert (again.json["id"], "x-trigger-jwt" in again.headers) == (batch_id, shown)
        assert "x-trigger-jwt-claims" in again.headers
    half = {"runCount": 2, "taskIdentifiers": ["hello"], "idempotencyKey": "half"}
    half_id = tenant.client.simulate_post("/api/v3/batches", json=half).json["id"]
    again = holder(app, mint(tenant, "batchTrigger:tasks:hello")).simulate_post("/api/v3/batches", json=half)
    assert (again.json["id"], "x-trigger-jwt" in again.headers) == (half_id, False), "also one that is not whole yet"
    own = holder(app, mint(tenant, "write:waitpoints"))
    again = own.simulate_post("/api/v1/waitpoints/tokens", json={"idempotencyKey": "order-7"})
    assert (again.json["id"], "x-trigger-jwt" in again.headers) == (waitpoint, True), "who makes them may complete them"


def test_who_may_read_a_waitpoint_is_not_shown_what_completes_it(tenant: Tenant, app: wsgi.App) -> None:
    path = "/api/v1/waitpoints/tokens"
    made = tenant.client.simulate_post(path, json={"tags": "read-only"}).json
    reader, writer = (holder(app, mint(tenant, "read:waitpoints", *more)) for more in ((), ("write:waitpoints",)))
    for one, url in ((reader, ""), (writer, made["url"]), (tenant.client, made["url"])):
        assert one.simulate_get(f"{path}/{made['id']}").json["url"] == url
        listed = one.simulate_get(path, params={"filter[tags]": "read-only"}).json["data"]
        assert [each["url"] for each in listed] == [url]


# --- refused


HS256 = {"alg": "HS256", "typ": "JWT"}


def forged(tenant: Tenant, now: datetime, header: dict[str, Any], key: str | None = None, **other: Any) -> str:
    """Signed by hand, as no library would."""
    import hmac

    parts = [json.dumps(part).encode() for part in (header, claims(tenant, now) | other)]
    signed = ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    mark = hmac.digest((key or "").encode(), signed.encode(), "sha256") if key is not None else b"x"
    return f"{signed}.{urlsafe_b64encode(mark).rstrip(b'=').decode()}"


def test_forgeries(tenant: Tenant, stranger: Tenant, sibling: Tenant, app: wsgi.App, platform: Platform) -> None:
    now = platform.clock()

    def signed(key: str = tenant.key, algorithm: str = "HS256", **other: Any) -> str:
        return jwt.encode(claims(tenant, now, **other), key, algorithm)

    past = int(now.timestamp()) - 1
    good = signed()
    tampered = good.split(".")
    tampered[1] = urlsafe_b64encode(json.dumps(claims(tenant, now, scopes=["admin"])).encode()).rstrip(b"=").decode()
    refused = {
        "another key": signed("tr_dev_" + "x" * 24),
        "another environment's key": signed(sibling.key),
        "another tenant's environment": signed(sub=stranger.environment),
        "another tenant's key": signed(stranger.key),
        "no environment": signed(sub="env_" + "0" * 26),
        "no id": signed(sub="env"),
        "no text": jwt.encode(claims(tenant, now) | {"sub": "x"}, tenant.key, "HS256"),
        "not public": signed(pub=None),
        "public as a text": signed(pub="true"),
        "another issuer": signed(iss="https://id.example.com"),
        "no issuer": signed(iss=None),
        "another audience": signed(aud="https://api.example.com"),
        "no audience": signed(aud=None),
        "expired": signed(exp=past),
        "no end": signed(exp=None),
        "an end that is a text": forged(tenant, now, HS256, tenant.key, exp="9999999999"),
        "an end that is true": forged(tenant, now, HS256, tenant.key, exp=True),
        "an end that is no number": forged(tenant, now, HS256, tenant.key, exp=float("nan")),
        "an end without end": forged(tenant, now, HS256, tenant.key, exp=float("inf")),
        "a beginning without beginning": forged(tenant, now, HS256, tenant.key, nbf=float("-inf")),
        "an end that is none": signed(exp=10**30),
        "not yet": signed(nbf=int(now.timestamp()) + 3600),
        "another hash": signed(algorithm="HS512"),
        "no hash": forged(tenant, now, {"alg": "none", "typ": "JWT"}),
        "no hash, but signed": forged(tenant, now, {"alg": "none", "typ": "JWT"}, tenant.key),
        "an algorithm that is a list": forged(tenant, now, {"alg": ["HS256"]}, tenant.key),
        "something critical": forged(tenant, now, {"alg": "HS256", "crit": ["exp"]}, tenant.key),
        "a key of its own": forged(tenant, now, HS256 | {"jwk": {"kty": "oct", "k": "eA"}}, "x"),
        "an address of keys": forged(tenant, now, HS256 | {"jku": "http://127.0.0.1/", "x5u": "http://127.0.0.1/"}, "x"),
        "a key that is a file": forged(tenant, now, HS256 | {"kid": "../../../../dev/null"}, ""),
        "a key that is SQL": forged(tenant, now, HS256 | {"kid": "' UNION SELECT 'x' --"}, "x"),
        "an asymmetric algorithm": forged(tenant, now, {"alg": "RS256", "typ": "JWT"}, tenant.key),
        "encrypted": ".".join(["e30"] * 5),
        "a token in a token": forged(tenant, now, HS256 | {"cty": "JWT"}, tenant.key, sub=good),
        "a megabyte": good + "x" * 1_000_000,
        "nothing at all": "..",
        "another body": ".".join(tampered),
        "no signature": good.rpartition(".")[0] + ".",
        "scopes that are a text": signed(scopes="admin"),
        "scopes of numbers": signed(scopes=[1]),
        "too large": signed(scopes=["read:runs:" + "x" * 400] * 40),
    }
    for name, token in refused.items():
        answer = reads(app, token)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), name
        assert answer.json["code"] in ("UNAUTHORIZED", "PUBLIC_TOKEN_REFUSED"), name
        assert tenant.key not in answer.text
    assert reads(app, good).status_code == 200
    assert "expired" in reads(app, refused["expired"]).json["error"]
    assert reads(app, signed(scopes=[])).status_code == 403
    assert reads(app, signed(scopes=["nonsense", "read:runs"])).status_code == 200


def test_the_secret_of_a_restricted_key_signs_nothing(tenant: Tenant, app: wsgi.App, platform: Platform) -> None:
    key = tenant.client.simulate_post("/api/v1/keys", json={}).json["key"]
    assert reads(app, jwt.encode(claims(tenant, platform.clock()), key, "HS256")).status_code == 401


def test_a_token_of_one_environment_sees_no_other(stranger: Tenant, tenant: Tenant, app: wsgi.App) -> None:
    run = tenant.trigger()
    other = holder(app, mint(stranger, "admin"))
    assert other.simulate_get(f"/api/v3/runs/{run}").status_code == 404
    assert run not in other.simulate_get("/api/v1/runs").text


def test_a_token_ends_with_the_key_that_signed_it(platform: Platform, app: wsgi.App, stranger: Tenant) -> None:
    keys, now = platform.access.keys, platform.clock()
    token = mint(stranger, "read:runs", expirationTime="10d")
    root = next(key for key in platform.keys.list(_environment(platform, stranger), now) if key.is_root)
    platform.keys.rotate(_environment(platform, stranger), root.id, timedelta(hours=1), now)
    assert reads(app, token).status_code == 200, "the key that was replaced still opens"
    assert reads(app, jwt.encode(claims(stranger, now), keys.root(stranger.environment, now), "HS256")).status_code == 200
    with pytest.raises(Exception, match="no key"):
        platform.public_tokens.verify(token, now + timedelta(hours=2))
    platform.keys.revoke(_environment(platform, stranger), root.id, now)
    assert reads(app, token).status_code == 401


def _environment(platform: Platform, tenant: Tenant) -> Any:
    return platform.access.environment(tenant.environment, platform.clock())


# --- used once

TRIGGER = "/api/v1/tasks/once/trigger"


def once(tenant: Tenant, *scopes: str) -> str:
    return mint(tenant, *(scopes or ("trigger:tasks:once",)), oneTimeUse=True)


def test_a_token_that_works_once(tenant: Tenant, app: wsgi.App) -> None:
    one = holder(app, once(tenant))
    assert one.simulate_post(TRIGGER, json={}).status_code == 200
    again = one.simulate_post(TRIGGER, json={})
    assert (again.status_code, again.json["code"]) == (401, "PUBLIC_TOKEN_SPENT")
    assert once(tenant) != once(tenant), "two of one moment are two"


def test_of_a_hundred_one_wins(tenant: Tenant, app: wsgi.App) -> None:
    token = once(tenant)
    before = _count(tenant)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: holder(app, token).simulate_post(TRIGGER, json={}).status_code, range(100)))
    assert sorted(answers) == [200] + [401] * 99
    assert _count(tenant) == before + 1


def test_written_otherwise_it_is_the_same_token(tenant: Tenant, app: wsgi.App) -> None:
    """The last character of a signature has bits that mean nothing."""
    token = once(tenant)
    assert holder(app, token).simulate_post(TRIGGER, json={}).status_code == 200
    signature = urlsafe_b64decode(token.rpartition(".")[2] + "=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [token[:-1] + char for char in alphabet]
    same = [each for each in others if urlsafe_b64decode(each.rpartition(".")[2] + "=") == signature]
    assert len(same) == 4
    assert {holder(app, each).simulate_post(TRIGGER, json={}).status_code for each in others} == {401}


def test_what_is_refused_does_not_use_it_up(tenant: Tenant, app: wsgi.App) -> None:
    one = holder(app, once(tenant))
    for body, status in (({"payload": 1, "x": 1}, 400), ({"options": {"lockToVersion": "20200101.1"}}, 422)):
        assert one.simulate_post(TRIGGER, json=body).status_code == status
    assert one.simulate_post("/api/v1/tasks/other/trigger", json={}).status_code == 403
    assert one.simulate_post(TRIGGER, json={}).status_code == 200


def test_a_request_that_is_repeated_is_one_use(tenant: Tenant, app: wsgi.App) -> None:
    one, key = holder(app, once(tenant)), {"x-trigger-request-idempotency-key": secrets.token_hex(8)}
    first, again = (one.simulate_post(TRIGGER, json={}, headers=key) for _ in range(2))
    assert (first.status_code, again.json["id"]) == (200, first.json["id"])
    other = {"x-trigger-request-idempotency-key": secrets.token_hex(8)}
    assert one.simulate_post(TRIGGER, json={}, headers=other).status_code == 401


def test_a_repetition_that_succeeded_is_not_undone_by_the_refusal_of_the_first(tenant: Tenant, platform: Platform) -> None:
    tokens, now = platform.public_tokens, platform.clock()
    token = tokens.verify(once(tenant), now)
    assert tokens.spend(token, "key", now) is True, "the first, which is going to be refused"
    assert tokens.spend(token, "key", now) is False, "its repetition, with another body"
    tokens.give_back(token)
    with pytest.raises(Exception, match="works once"):
        tokens.spend(token, "other", now)


def test_a_repetition_counts_as_long_as_its_key_holds(tenant: Tenant, platform: Platform) -> None:
    """After that the key is free, and the request would make another run."""
    tokens, now = platform.public_tokens, platform.clock()
    token = tokens.verify(mint(tenant, "trigger:tasks:once", oneTimeUse=True, expirationTime="2d"), now)
    assert tokens.spend(token, "key", now) is True
    assert tokens.spend(token, "key", now + timedelta(hours=23)) is False
    with pytest.raises(Exception, match="works once"):
        tokens.spend(token, "key", now + timedelta(hours=25))


def test_a_request_key_leads_no_other_token_to_a_run(tenant: Tenant, app: wsgi.App) -> None:
    """It comes with a token that reads the run."""
    key = {"x-trigger-request-idempotency-key": secrets.token_hex(8)}
    first, other = (
        holder(app, mint(tenant, "trigger:tasks:once", expirationTime=end)).simulate_post(TRIGGER, json={}, headers=key)
        for end in ("1h", "2h")
    )
    by_key = tenant.client.simulate_post(TRIGGER, json={}, headers=key)
    again = tenant.client.simulate_post(TRIGGER, json={}, headers=key)
    assert len({first.json["id"], other.json["id"], by_key.json["id"]}) == 3
    assert again.json == by_key.json


def test_what_cannot_be_known_again_is_not_repeated(tenant: Tenant, app: wsgi.App) -> None:
    run = tenant.trigger()
    one, key = holder(app, once(tenant, f"write:runs:{run}")), {"x-trigger-request-idempotency-key": "again"}
    change = {"operations": [{"type": "increment", "key": "n", "value": 1}]}
    answers = [one.simulate_put(f"/api/v1/runs/{run}/metadata", json=change, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 401]


def test_a_batch_takes_its_items_by_the_token_that_made_it(tenant: Tenant, app: wsgi.App) -> None:
    one = holder(app, once(tenant, "batchTrigger:tasks:once"))
    made = one.simulate_post("/api/v3/batches", json={"runCount": 2, "taskIdentifiers": ["once"]})
    other = tenant.client.simulate_post("/api/v3/batches", json={"runCount": 1}).json["id"]

    def fill(batch: str, *indexes: int) -> testing.Result:
        lines = "\n".join(json.dumps({"index": index, "task": "once"}) for index in indexes)
        headers = {"Content-Type": "application/x-ndjson"}
        return one.simulate_post(f"/api/v3/batches/{batch}/items", body=lines, headers=headers)

    assert [fill(made.json["id"], 0).status_code, fill(made.json["id"], 0, 1).json["sealed"]] == [200, True]
    assert (fill(other, 0).status_code, fill(other, 0).json["code"]) == (401, "PUBLIC_TOKEN_SPENT")
    assert one.simulate_post("/api/v3/batches", json={"runCount": 1, "taskIdentifiers": ["once"]}).status_code == 401


def test_used_tokens_are_forgotten_when_they_have_ended(tenant: Tenant, platform: Platform) -> None:
    tokens, now = platform.public_tokens, platform.clock()
    token = tokens.verify(once(tenant), now)
    tokens.spend(token, None, now)
    platform.spent_tokens.forget_over(now, 1_000)
    with pytest.raises(Exception, match="works once"):
        tokens.spend(token, None, now)
    assert platform.spent_tokens.forget_over(now + timedelta(days=1), 1_000) >= 1


def _count(tenant: Tenant) -> int:
    found = tenant.client.simulate_get("/api/v1/runs", params={"filter[taskIdentifier]": "once", "page[size]": 100})
    return len(found.json["data"])


# --- browsers


def test_any_origin_may_call(tenant: Tenant, anonymous: testing.TestClient) -> None:
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization,content-type,x-trigger-api-version"
    for path in (TRIGGER, "/api/v1/runs", "/api/v1/waitpoints/tokens/x/complete"):
        answer = anonymous.simulate_options(path, headers=asked)
        assert (answer.status_code, answer.json) == (200, {})
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]
        assert "POST" in answer.headers["access-control-allow-methods"]
    answer = tenant.client.simulate_post(TRIGGER, json={}, headers={"Origin": "https://app.example.com"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "x-trigger-jwt-claims" in answer.headers["access-control-expose-headers"]
    refused = anonymous.simulate_get("/api/v1/runs", headers={"Origin": "https://app.example.com"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "*")
    assert "access-control-allow-origin" not in anonymous.simulate_get("/", headers={"Origin": "https://x.example"}).headers


def test_a_browser_cannot_put_lines_into_the_answer(anonymous: testing.TestClient) -> None:
    headers = {"Origin": "null", "Access-Control-Request-Headers": "x: y"}
    answer = anonymous.simulate_options(TRIGGER, headers=headers)
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
