"""Idempotency keys that say how far they hold: hashed as in other languages, sent with what was written."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from sojourn import IdempotencyKey, idempotency_keys
from sojourn.sdk.errors import ConfigurationError
from sojourn.sdk.trigger_options import idempotency_key, key_options, trigger_options


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(("scope", "suffix"), [("run", "-run_1"), ("attempt", "-run_1-2"), ("global", "")])
def test_a_key_holds_as_far_as_its_scope(attempt: Callable[..., dict[str, Any]], scope: Any, suffix: str) -> None:
    outcome = attempt(lambda: str(idempotency_keys.create(["order", 7], scope)), number=2, id="work")
    assert outcome["output"] == f'"{hashed("order-7" + suffix)}"'


def test_outside_a_run_every_key_is_everybody_s() -> None:
    made = {idempotency_keys.create("k", scope).hash for scope in ("run", "attempt", "global")}
    assert made == {hashed("k")}


def test_a_key_is_sent_as_it_is_with_what_was_written() -> None:
    key = idempotency_keys.create("k", "global")
    told = {"idempotencyKey": hashed("k"), "idempotencyKeyOptions": {"key": "k", "scope": "global"}}
    assert trigger_options({"idempotency_key": key}) == told
    assert trigger_options({"idempotency_key": key}, "run_1") == {**told, "parentRunId": "run_1"}, (
        "and no run makes it its own"
    )
    assert idempotency_key(key, "run_1") == hashed("k") == key_options(key, None)["idempotencyKey"]


def test_a_plain_key_is_a_run_s_own() -> None:
    wire = trigger_options({"idempotency_key": "k"}, "run_1")
    assert wire["idempotencyKey"] == hashed("k-run_1") == idempotency_key("k", "run_1")


def test_a_scope_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="run, attempt, global"):
        idempotency_keys.create("k", "planet")  # type: ignore[arg-type]
    assert IdempotencyKey("h", "k", "run") == IdempotencyKey("h", "k", "run")
