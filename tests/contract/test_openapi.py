"""The route table, the application and the OpenAPI page say the same; nothing that fits the page makes a 5xx."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from falcon.inspect import inspect_routes
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sojourn.control_plane import wsgi
from sojourn.control_plane.api import openapi
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.models.refusals import Refusal
from sojourn.control_plane.api.problems import CODES
from sojourn.control_plane.api.routes import ROUTES, Route
from sojourn.control_plane.engine.credentials import ExecutorIdentity
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant, anonymous, app, platform, tenant
from tests.support import sent_query
from tests.support.json_lines import one_line
from tests.support.own_addresses import filter_case, is_anothers

__all__ = ["anonymous", "app", "filter_case", "one_line", "platform", "tenant"]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    ignored_auth,
]
named = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.action)


def test_the_application_has_the_tables_addresses_and_no_others(app: wsgi.App) -> None:
    found = {
        (method.method, route.path)
        for route in inspect_routes(app)
        if route.path.startswith(("/api", "/worker", "/healthz", "/readyz"))
        for method in route.methods
        if not method.internal
    }
    assert found == {(route.method, route.path) for route in ROUTES}
    assert len(found) == len(ROUTES)


@named
def test_a_responder_takes_what_its_address_names(route: Route, platform: Platform) -> None:
    name, responder = route.action.split(".")
    function = getattr(wsgi.resources(platform)[name], responder)
    expected = ["call", *re.findall(r"{(\w+)}", route.path)]
    assert list(inspect.signature(function).parameters) == expected


@named
def test_nobody_comes_in_without_what_the_table_asks_for(route: Route, anonymous: Any) -> None:
    path = re.sub(r"{\w+}", "x", route.path)
    answer = anonymous.simulate_request(route.method, path)
    if route.action == "tokens.call_back":  # its address is what it asks for
        assert (answer.status_code, answer.json["code"]) == (404, "WAITPOINT_NOT_FOUND")
    elif route.action in ("packets.read", "packets.write"):
        assert (answer.status_code, answer.json["code"]) == (403, "GRANT_REFUSED")
    elif route.caller is Caller.ANYONE:
        assert answer.status_code == 200
    else:
        expected = {
            Caller.ENVIRONMENT: "UNAUTHORIZED",
            Caller.PROJECT: "UNAUTHORIZED",
            Caller.PERSON: "PERSONAL_TOKEN_REFUSED",
            Caller.EXECUTOR: "CREDENTIAL_REFUSED",
            Caller.ALLOCATION: "IDENTITY_REFUSED",
        }[route.caller]
        assert (answer.status_code, answer.json["code"]) == (401, expected)
        assert answer.headers["www-authenticate"] == "Bearer"
        Refusal.model_validate(answer.json)


@named
def test_every_route_is_on_the_page(route: Route) -> None:
    document = openapi.document()
    operation = document["paths"][route.path][route.method.lower()]
    assert operation["summary"] == route.summary
    assert set(operation["responses"]) >= {
        *map(str, route.statuses),
        *(str(CODES[code].status) for code in route.all_codes),
    }


def test_every_reference_of_the_page_leads_somewhere() -> None:
    document = openapi.document()
    names = {reference.rsplit("/", 1)[1] for reference in _references(document)}
    assert names <= set(document["components"]["schemas"])
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))


def test_the_page_is_served(anonymous: Any) -> None:
    answer = anonymous.simulate_get("/api/openapi.json")
    assert answer.json == openapi.document() and answer.json["openapi"].startswith("3.1")


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


@pytest.fixture(scope="module")
def keys(platform: Platform, tenant: Tenant) -> dict[Caller, str]:
    version = tenant.deploy(["hello"])
    identity = ExecutorIdentity("executor_1", tenant.organization, tenant.environment, version["id"], "small-1x")
    return {
        Caller.EXECUTOR: platform.credentials.for_executor(identity),
        Caller.PERSON: platform.access.personal_tokens.create(tenant.organization, platform.clock())[1],
    }


@pytest.fixture(scope="module")
def page(app: wsgi.App) -> Any:
    return schemathesis.openapi.from_wsgi("/api/openapi.json", app)


@named
def test_whatever_fits_the_page_is_answered_as_it_says(
    route: Route, page: Any, keys: dict[Caller, str], tenant: Tenant
) -> None:
    key = keys.get(route.caller, tenant.key)

    @settings(max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=page[route.path][route.method].as_strategy())
    def answered(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and "wait" in case.body:
            case.body["wait"] = 0
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, checks=CHECKS)

    answered()


@pytest.mark.parametrize(
    ("method", "path", "parameters", "is_another"),
    [
        ("GET", "/api/v1/deployments/{deployment}", {"deployment": "current"}, True),
        ("GET", "/api/v1/deployments/{deployment}", {"deployment": "currently"}, False),
        ("POST", "/api/v1/deployments/{deployment}/promote", {"deployment": "current"}, False),
        ("GET", "/api/v1/projects/{ref}/{env}", {"ref": "x", "env": "runs"}, True),
        ("GET", "/api/v1/projects/{ref}/runs", {"ref": "x"}, False),
        ("POST", "/api/v1/projects/{ref}/envvars/{env}/{name}", {"ref": "x", "env": "dev", "name": "import"}, True),
    ],
)
def test_an_address_that_is_another_operations_is_not_made_for_this_one(
    method: str, path: str, parameters: dict[str, str], is_another: bool
) -> None:
    assert is_anothers(method, path, parameters) is is_another


#: What is read byte by byte, or line by line: nothing that is sent there is wrong as a whole.
_TAKES_ANYTHING = {"tokens.call_back", "batches.fill", "worker.store_image"}


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if (route.body or route.query) and route.action not in _TAKES_ANYTHING],
    ids=lambda route: route.action,
)
def test_whatever_does_not_fit_the_page_is_refused(
    route: Route, page: Any, keys: dict[Caller, str], tenant: Tenant
) -> None:
    key = keys.get(route.caller, tenant.key)
    document = openapi.document()
    operation = document["paths"][route.path][route.method.lower()]

    def rejection(context: Any, response: Any, case: schemathesis.Case) -> bool | None:
        """What is too large is refused for that, which the tool does not count. What is right as it was sent comes in."""
        if response.status_code == 413 or (
            route.body is None and sent_query.fits(str(response.request.url), operation, document)
        ):
            return None
        return negative_data_rejection(context, response, case)

    @settings(max_examples=8, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=page[route.path][route.method].as_strategy(GenerationMode.NEGATIVE))
    def refused(case: schemathesis.Case) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, checks=[*CHECKS, rejection])

    refused()
