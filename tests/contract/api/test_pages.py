"""The dashboard's pages, through the real application."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from falcon import testing

from sojourn.control_plane.store import run_lists, run_streams
from sojourn.control_plane.wiring import Platform
from sojourn.web.session import COOKIE
from tests.contract.api.conftest import HOST, Tenant, executor
from tests.support.freezing import Player, soon

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def cookies(platform: Platform, app: object, tenant: Tenant) -> dict[str, str]:
    code = platform.access.create_dashboard_code(tenant.organization, platform.clock())
    answer = testing.TestClient(app).simulate_get("/", params={"code": code}, host=HOST)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    return {COOKIE: answer.cookies[COOKIE].value}


def look(
    client: testing.TestClient, path: str, cookies: dict[str, str] | None = None, **params: str | list[str]
) -> testing.Result:
    return client.simulate_get(path, cookies=cookies, params=params, host=HOST)


def test_a_code_opens_one_session_that_scripts_cannot_read(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient
) -> None:
    code = platform.access.create_dashboard_code(tenant.organization, platform.clock())
    first = look(anonymous, "/", code=code)
    cookie = first.cookies[COOKIE]
    assert cookie.http_only and cookie.same_site == "Lax" and cookie.path == "/" and cookie.max_age
    assert COOKIE not in look(anonymous, "/", code=code).cookies


@pytest.mark.parametrize("path", ["/", "/runs/run_" + "0" * 26])
@pytest.mark.parametrize("secret", [None, "x", "x" * 43, "\x01", "é" * 30])
def test_without_a_session_there_is_no_page(anonymous: testing.TestClient, path: str, secret: str | None) -> None:
    headers = {"Cookie": f"{COOKIE}={secret}"} if secret else {}
    answer = anonymous.simulate_get(path, headers=headers, host=HOST)
    assert answer.status_code == 401 and "sojourn status" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"])
def test_a_foreign_name_gets_no_page(anonymous: testing.TestClient, cookies: dict[str, str], host: str) -> None:
    assert anonymous.simulate_get("/", cookies=cookies, host=host).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_the_servers_own_names_do(anonymous: testing.TestClient, cookies: dict[str, str], host: str) -> None:
    assert anonymous.simulate_get("/", cookies=cookies, host=host).status_code == 200


def test_a_large_payload_is_a_link(tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    run = tenant.trigger("large", "x" * 600_000)
    page = look(anonymous, f"/runs/{run}", cookies).text
    found = re.search(r'It is large: <a href="[^"]*(/api/v1/objects/[^"]+)">read it</a>', page)
    assert found and anonymous.simulate_get(found[1]).json == "x" * 600_000


def test_the_list_shows_what_was_triggered(tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    run = tenant.trigger("listed", tags=[EVIL])
    answer = look(anonymous, "/", cookies, task="listed")
    assert f"/runs/{run}" in answer.text and "Pending version" in answer.text
    assert EVIL not in answer.text and "&lt;script&gt;" in answer.text


def test_the_list_is_narrowed_and_goes_on(tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    made = sorted(tenant.trigger("many") for _ in range(26))
    first = look(anonymous, "/", cookies, task="many").text
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert made[0] not in first and following
    second = anonymous.simulate_get(following[1].replace("&amp;", "&"), cookies=cookies, host=HOST).text
    assert made[0] in second and made[1] not in second and 'rel="prev"' in second
    assert "No run fits" in look(anonymous, "/", cookies, task="many", status="COMPLETED").text


def test_the_list_is_narrowed_by_any_filter(
    tenant: Tenant, platform: Platform, anonymous: testing.TestClient, cookies: dict[str, str]
) -> None:
    failed, other = (tenant.trigger("narrowed", tags=["a&b"], test=True) for _ in range(2))
    platform.database.rows(
        "UPDATE runs SET status = 'FAILED', snapshot_status = 'FINISHED', finished_at = now(), error = %s WHERE id = %s",
        '{"type": "BUILT_IN_ERROR", "name": "ValueError"}',
        failed,
    )
    first = look(
        anonymous, "/", cookies, error="ValueError", tag="a&b", test="true", period="1h", queue="task/narrowed"
    ).text
    assert failed in first and other not in first
    assert 'value="a&amp;b"' in first and "<details open>" in first
    assert "<details>" in look(anonymous, "/", cookies, error="ValueError").text
    assert "No run fits" in look(anonymous, "/", cookies, error="ValueError", to="2020-01-01").text


def test_a_value_with_a_comma_is_a_parameter_sent_twice(
    tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]
) -> None:
    whole, part = (tenant.trigger("narrowed", tags=[tag]) for tag in ("a, b", "a"))
    shown = look(anonymous, "/", cookies, tag=["a, b", "a, b"]).text
    assert whole in shown and part not in shown and shown.count('name="tag" value="a, b"') == 2
    shown = look(anonymous, "/", cookies, tag="a, b").text
    assert whole not in shown and part in shown


def test_where_runs_that_fit_are_rare_the_page_leads_further_back(
    tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        tenant.trigger("rare", tags=["x"] if number % 2 else ["y"], queue={"name": "p" if number % 2 else "q"})
    monkeypatch.setattr(run_streams, "_FIRST", 1)
    monkeypatch.setattr(run_streams, "_LEAST", 1)
    monkeypatch.setattr(run_lists, "PATIENCE", 1)
    seen, page = 0, look(anonymous, "/", cookies, tag="x", queue="q").text
    while following := re.search(r'<a href="([^"]+)">Look further back', page):
        assert "None so far" in page and "tag=x" in following[1]
        seen += 1
        page = anonymous.simulate_get(following[1].replace("&amp;", "&"), cookies=cookies, host=HOST).text
    assert seen and "No further run fits" in page and "No run fits" not in page
    seen = 0
    back = re.search(r'<a rel="prev" href="([^"]+)">Newer', page)
    while back:
        page = anonymous.simulate_get(back[1].replace("&amp;", "&"), cookies=cookies, host=HOST).text
        back = re.search(r'<a href="([^"]+)">Look further on', page)
        assert ("None so far" in page) == bool(back) and "No run fits" not in page
        seen += 1
    assert seen and "No newer run fits" in page


def test_a_list_that_takes_too_long_says_so(
    tenant: Tenant,
    platform: Platform,
    anonymous: testing.TestClient,
    cookies: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_lists, "PAGE_SECONDS", 0.05)
    with ThreadPoolExecutor(1) as elsewhere, platform.database.transaction():
        platform.database.rows("LOCK TABLE run_facets")
        answer = elsewhere.submit(look, anonymous, "/", cookies, tag="x").result(20)
    assert answer.status_code == 422 and "too long" in answer.text


@pytest.mark.parametrize(
    "params", [{"status": "NOPE"}, {"after": "' OR 1=1"}, {"task": "\x00"}, {"before": "run_1"}, {"fragment": "\x00"}]
)
def test_parameters_of_no_use_are_passed_over(
    anonymous: testing.TestClient, cookies: dict[str, str], params: dict[str, str]
) -> None:
    assert look(anonymous, "/", cookies, **params).status_code == 200


def test_environments_are_switched(
    tenant: Tenant, sibling: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]
) -> None:
    run = sibling.trigger("in-prod")
    assert run not in look(anonymous, "/", cookies, env="dev").text
    assert run in look(anonymous, "/", cookies, env="prod").text
    assert look(anonymous, "/", cookies, env="nope").status_code == 404


def test_a_runs_page(tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    run = tenant.trigger("shown", payload={"html": EVIL}, idempotencyKey="order-7", ttl="10m")
    answer = look(anonymous, f"/runs/{run}", cookies)
    assert answer.status_code == 200 and EVIL not in answer.text
    for text in (run, "Trigger unversioned", "order-7", "10 min 00 s", "small-1x", "&lt;script&gt;"):
        assert text in answer.text
    fragment = look(anonymous, f"/runs/{run}", cookies, fragment="1")
    assert "<html" not in fragment.text and "data-over" not in fragment.text
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
    over = look(anonymous, f"/runs/{run}", cookies, fragment="1").text
    assert "Canceled" in over and "data-over" in over


def test_a_page_that_has_not_changed_is_not_sent_again(
    tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]
) -> None:
    path = f"/runs/{tenant.trigger('same')}"
    tag = look(anonymous, path, cookies).headers["etag"]
    again = anonymous.simulate_get(path, cookies=cookies, host=HOST, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_an_address_without_a_page_is_one_for_browsers_and_an_error_for_programs(anonymous: testing.TestClient) -> None:
    page = anonymous.simulate_get("/tasks", headers=BROWSER, host=HOST)
    assert page.status_code == 404 and "No such page" in page.text and '<a href="/">All runs</a>' in page.text
    for path, headers in (("/tasks", {"Accept": "application/json"}), ("/api/v1/nothing", BROWSER)):
        assert anonymous.simulate_get(path, headers=headers, host=HOST).json["code"] == "NOT_FOUND"
    assert anonymous.simulate_post("/tasks", headers=BROWSER, host=HOST).json["code"] == "NOT_FOUND"


def test_a_run_that_is_not_there_leads_back(anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    page = look(anonymous, "/runs/run_" + "0" * 26, cookies).text
    assert "No such run" in page and '<a href="/">All runs</a>' in page
    assert "All runs" not in look(anonymous, "/").text  # which needs a session first


def test_pages_lead_to_the_reference_and_back(anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    assert '<a href="/reference">API reference</a>' in look(anonymous, "/", cookies).text
    assert '<a href="/">Runs</a>' in look(anonymous, "/reference").text


def test_pages_have_heads(tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    for path in ("/", f"/runs/{tenant.trigger('headed')}", "/reference", "/static/style.css"):
        answer = anonymous.simulate_head(path, cookies=cookies, host=HOST)
        assert (answer.status_code, answer.content) == (200, b"")


def test_a_log_line_s_properties_are_shown_as_they_are(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]
) -> None:
    version = tenant.deploy(["page-of-lines"])["id"]
    run = tenant.trigger("page-of-lines")
    player = Player(executor(platform, tenant, version, "executor_of_lines"))
    player.next()
    line = {"n": 1, "at": "2026-03-04T12:00:00Z", "stream": "logger", "level": "ERROR", "message": "bad"}
    told = player.post("logs", player.held(lines=[{**line, "properties": {"error": "'ä' <b>"}}], dropped=0))
    assert told.status_code == 200
    shown = look(anonymous, f"/runs/{run}", cookies).text
    assert "{&#34;error&#34;: &#34;&#39;ä&#39; &lt;b&gt;&#34;}" in shown and "u0027" not in shown
    assert "Sojourn 0." in shown  # the release, not the run's version


def test_what_is_anothers_is_not_there(stranger: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    run = stranger.trigger("private")
    answers = [look(anonymous, f"/runs/{name}", cookies) for name in (run, run[:-5] + "00000", "x", "%00")]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_pages_let_nothing_foreign_in(anonymous: testing.TestClient, cookies: dict[str, str]) -> None:
    for answer in (look(anonymous, "/", cookies), look(anonymous, "/")):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
        assert not re.search(r"<script(?! src=)|\son\w+=|style=", answer.text)


@pytest.mark.parametrize(
    ("name", "kind"), [("style.css", "text/css"), ("live.js", "text/javascript"), ("icon.svg", "image/svg+xml")]
)
def test_static_files(anonymous: testing.TestClient, name: str, kind: str) -> None:
    answer = anonymous.simulate_get(f"/static/{name}")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)


@pytest.mark.parametrize("name", ["nope.css", "..%2f__init__.py", "__init__.py"])
def test_no_other_files(anonymous: testing.TestClient, name: str) -> None:
    assert anonymous.simulate_get(f"/static/{name}").status_code == 404


def test_a_runs_page_tells_of_its_freezing(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]
) -> None:
    version = tenant.deploy(["page-of-frozen"])["id"]
    run = tenant.trigger("page-of-frozen")
    player = Player(executor(platform, tenant, version, "executor_of_page"))
    player.next()
    player.block(soon(platform.clock()), hold="a <b>socket</b> is open")
    waits = look(anonymous, f"/runs/{run}", cookies).text
    assert (
        "<td>waits in memory</td>" in waits
        and "Waits in memory" in waits
        and "a &lt;b&gt;socket&lt;/b&gt; is open" in waits
    )
    frozen = player.stored(1_234_567)
    player.suspend(frozen)
    shown = look(anonymous, f"/runs/{run}", cookies).text
    assert "<h2>Frozen</h2>" in shown and "1.2 MB" in shown and "3.7 MB" in shown and "Waits in memory" not in shown
    assert "<td>waits, frozen</td>" in shown


def test_a_runs_page_tells_what_it_waits_for(
    platform: Platform, tenant: Tenant, anonymous: testing.TestClient, cookies: dict[str, str]
) -> None:
    version = tenant.deploy(["page-of-waits"])["id"]
    run, child = tenant.trigger("page-of-waits"), tenant.trigger("page-of-waits", delay="1h")
    token = tenant.client.simulate_post("/api/v1/waitpoints/tokens", json={"timeout": "2h"}).json["id"]
    player = Player(executor(platform, tenant, version, "executor_of_waits"))
    player.next()
    waits = [{"key": "1:1", "kind": "token", "waitpoint": token}, {"key": "1:2", "kind": "run", "awaited": child}]
    player.post("wait", player.held(waits=waits, pending=["1:1", "1:2"], block="all"))
    shown = look(anonymous, f"/runs/{run}", cookies).text
    assert "all of 2 things" in shown and f'href="/runs/{child}"' in shown and token in shown
    tenant.client.simulate_post(f"/api/v1/waitpoints/tokens/{token}/complete", json={})
    assert "<td>api</td>" in look(anonymous, f"/runs/{run}", cookies).text
    tenant.client.simulate_post(f"/api/v2/runs/{child}/cancel")
    shown = look(anonymous, f"/runs/{run}", cookies).text
    assert "Waits for" not in shown and "<td>run</td>" in shown
    tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel")
