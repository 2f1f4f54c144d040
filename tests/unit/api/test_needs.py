"""Every route that a key opens says what a restricted key has to be granted."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
from redis import Redis

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.auth import Caller
from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.guard import Guard
from sojourn.control_plane.api.problems import Problem
from sojourn.control_plane.api.routes import ROUTES, Route
from sojourn.control_plane.api.visitor import Visitor
from sojourn.control_plane.domain import scopes
from sojourn.control_plane.engine.public_tokens import PublicTokens
from sojourn.control_plane.queue.call_buckets import CallBuckets
from sojourn.sdk import scope_words
from tests.unit.api.factories import ENVIRONMENT, NOW

_named = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")


@_named
def test_a_route_says_what_it_needs(route: Route) -> None:
    assert (route.needs is not None) is (route.caller in (Caller.ENVIRONMENT, Caller.PROJECT))


@_named
def test_a_need_is_in_the_words_of_scopes(route: Route) -> None:
    need = route.needs
    if need is None or need is needs.HAND_ON:
        return
    assert need.action in scopes.ACTIONS
    assert re.split("[: ,]", need.what, maxsplit=1)[0] in scopes.TYPES
    assert need.scope == f"{need.action}:{need.what}"


#: Types as a need's words for people name them; what is behind another action is that action's.
_TYPE = re.compile(rf"(?<![\w:])({'|'.join(scopes.TYPES)})(?=[:,;]| of|$)")


@pytest.mark.parametrize("public", [False, True], ids=["keys", "public tokens"])
def test_the_table_of_scopes_is_what_routes_need(public: bool) -> None:
    """What is minted can be of use, and what a route asks for can be had."""
    needed = {
        (need.action, type_)
        for need in (route.needs for route in ROUTES)
        if need is not None and need not in (needs.HAND_ON, needs.EVERYTHING) and (need.tokens or not public)
        for type_ in _TYPE.findall(need.what)
    }
    actions = [action for action in scope_words.ACTIONS if action != scope_words.ANY]
    assert needed == {(action, type_) for action in actions for type_ in scope_words.types_of(action, public=public)}


@_named
def test_who_may_only_read_changes_nothing(route: Route) -> None:
    if route.needs is not None and route.needs.action == "read":
        assert route.method == "GET"


@_named
def test_what_reads_the_body_has_one(route: Route) -> None:
    if route.needs is not None and route.needs.reads_body:
        assert route.body is not None


@pytest.mark.parametrize(
    ("scopes", "comes_in"),
    [(None, True), (("admin",), True), (("*:all",), True), (("read:all",), False), (("*:runs",), False), ((), False)],
)
def test_a_route_that_says_nothing_is_for_those_that_may_do_everything(
    scopes: tuple[str, ...] | None, comes_in: bool
) -> None:
    route = replace(next(route for route in ROUTES if route.action == "runs.page"), needs=None)
    guard = Guard(CallBuckets(Redis()), None, None, PublicTokens(None, None), lambda *_: None)
    call = Call(ENVIRONMENT, NOW, None, None, {}, Visitor(ENVIRONMENT, scopes))
    with nullcontext() if comes_in else pytest.raises(Problem, match="Unauthorized"):
        guard.check(route, call, {}, body=False)
