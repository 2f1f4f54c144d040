"""What scopes grant, and what may be handed on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.control_plane.domain.scopes import ADMIN, Resource, covers, grants, is_known, is_scope, reaches
from sojourn.sdk.scope_words import refusal

_words = st.sampled_from(["read", "write", "*", "trigger"])
_types = st.sampled_from(["runs", "tasks", "tags", "all"])
_ids = st.sampled_from(["", "a", "b", "a:b", "a:b:c"])
_scopes = st.one_of(
    st.just(ADMIN),
    st.builds(lambda action, type_, id_: f"{action}:{type_}" + (f":{id_}" if id_ else ""), _words, _types, _ids),
    _words,
)
_actions = st.sampled_from(["read", "write", "trigger"])
_resources = st.builds(Resource, st.sampled_from(["runs", "tasks", "tags"]), st.one_of(st.none(), _ids.filter(bool)))


@pytest.mark.parametrize(
    ("scope", "action", "resource", "granted"),
    [
        ("admin", "manage", Resource("apiKeys"), True),
        ("admin:runs", "read", Resource("runs"), False),
        ("read:runs", "read", Resource("runs", "run_1"), True),
        ("read:runs", "read", Resource("runs"), True),
        ("read:runs", "write", Resource("runs", "run_1"), False),
        ("read:runs:run_1", "read", Resource("runs", "run_1"), True),
        ("read:runs:run_1", "read", Resource("runs", "run_2"), False),
        ("read:runs:run_1", "read", Resource("runs"), False),
        ("read:tags:team:a:b", "read", Resource("tags", "team:a:b"), True),
        ("*:runs", "write", Resource("runs"), True),
        ("read:all", "read", Resource("waitpoints", "w"), True),
        ("*:all", "manage", Resource("apiKeys"), True),
        ("read", "read", Resource("runs"), False),
        ("", "read", Resource("runs"), False),
    ],
)
def test_the_rule(scope: str, action: str, resource: Resource, granted: bool) -> None:
    assert grants([scope], action, resource) is granted


@given(st.lists(_scopes, max_size=4), _actions, _resources)
def test_scopes_grant_what_one_of_them_does_read_by_its_first_two_colons(
    held: list[str], action: str, resource: Resource
) -> None:
    def alone(scope: str) -> bool:
        if scope == "admin":
            return True
        action_, type_, id_ = [*scope.split(":", 2), "", ""][:3]
        same = type_ == resource.type and id_ in ("", resource.id)
        return action_ in ("*", action) and (type_ == "all" or same)

    assert grants(held, action, resource) is any(alone(scope) for scope in held)


@given(st.lists(_scopes, max_size=3), _scopes, _actions, _resources)
def test_what_is_covered_grants_nothing_more(held: list[str], wanted: str, action: str, resource: Resource) -> None:
    if covers(held, wanted) and grants([wanted], action, resource):
        assert grants(held, action, resource)


@given(_scopes)
def test_who_holds_a_scope_may_hand_it_on(scope: str) -> None:
    assert covers([scope], scope) and covers([ADMIN], scope)


@given(st.lists(_scopes, max_size=3), _actions, _resources)
def test_what_is_granted_is_reached(held: list[str], action: str, resource: Resource) -> None:
    if grants(held, action, resource):
        assert reaches(held, action, resource.type)


@pytest.mark.parametrize(
    "denied", [("read:runs:a", "read:runs"), ("read:runs", "read:all"), ("read:runs", "*:runs"), ("*:all", "admin")]
)
def test_more_is_not_handed_on(denied: tuple[str, str]) -> None:
    assert not covers([denied[0]], denied[1])


def test_the_form_of_a_scope() -> None:
    for text in ("admin", "read:runs", "read:runs:run_1", "*:all", "read:tags:a:b c"):
        assert is_scope(text)
        assert is_known(text)
    for text in ("", "read", "read:", ":runs", "read runs", "read:runs:", "read:runs:\n", "read:runs:" + "x" * 600):
        assert not is_scope(text)
    assert is_scope("read:prompts") and not is_known("read:prompts") and not is_known("see:runs")


def test_what_existing_clients_write_is_taken() -> None:
    theirs = [
        "runs", "tasks", "tags", "batch", "queues", "deployments", "envvars", "apiKeys", "branches", "sessions",
        "waitpoints", "inputStreams", "query", "environments", "project", "all",
    ]  # fmt: skip
    written = ["admin", *(f"{action}:{type_}" for action in ("read", "write", "manage", "*") for type_ in theirs)]
    for text in (*written, "trigger:tasks", "batchTrigger:tasks", "trigger:all"):
        for public in (False, True):
            assert is_known(text, public=public)
            assert text == "admin" or is_known(f"{text}:a:b", public=public)


@pytest.mark.parametrize(
    "text", ["read:run", "read:run:run_1", "write:everything", "trigger:runs", "read:*", "see:runs", "Admin"]
)
def test_what_nothing_asks_for_is_no_scope(text: str) -> None:
    assert not is_known(text) and not is_known(text, public=True)


@pytest.mark.parametrize("text", ["read:webhooks", "manage:webhooks", "write:schedules", "write:schedules:schedule_1"])
def test_what_is_asked_of_keys_alone_is_no_scope_of_a_public_token(text: str) -> None:
    assert is_known(text) and not is_known(text, public=True)


def test_a_refusal_names_the_scope_and_the_words_there_are() -> None:
    said = refusal("read:run:run_1", public=True)
    assert "'read:run:run_1'" in said and said.endswith(
        "read is one of runs, tasks, tags, batch, queues, schedules, deployments, waitpoints, all"
    )
    said = refusal("reed:runs", public=True)
    assert "'reed:runs'" in said and said.endswith("the action is one of read, write, trigger, batchTrigger, *")
    assert "manage" in refusal("reed:runs", public=False) and "webhooks" in refusal("manage:keys", public=False)
    for text in ("read:runs:", "read:runs:\n", "read:runs:" + "x" * 600):
        said = refusal(text, public=True)
        assert "its id has 1 to 400 characters" in said and len(said) < 300, "the type is right"
