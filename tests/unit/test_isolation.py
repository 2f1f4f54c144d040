"""What sandboxes are kept from by themselves: the platform's own services, wherever they are."""

from __future__ import annotations

from typing import Any

from sojourn.control_plane import config
from sojourn.control_plane.isolation import networks_of, sandbox
from sojourn.executor_shim.allocation import _without


def options(**settings: str) -> dict[str, Any]:
    told = sandbox(config.load({}, api_url="http://203.0.113.7:3030", redis_url="redis://203.0.113.8/0", **settings))
    assert isinstance(told, dict)
    return told


def test_the_api_and_the_datastores_are_denied_at_public_addresses() -> None:
    """Tasks reach the API by the relay, at its own URL, and nothing else there."""
    assert options()["deny"] == ["203.0.113.7/32", "203.0.113.8/32"]


def test_what_is_allowed_by_name_is_not() -> None:
    told = options(sandbox_allow="203.0.113.7/32")
    assert (told["allow"], told["deny"]) == (["203.0.113.7/32"], ["203.0.113.8/32"])


def test_loopback_needs_no_mention_and_a_name_without_address_is_passed_over() -> None:
    assert networks_of(["http://127.0.0.1:4646", "http://nowhere.invalid:4646", ""]) == []


def test_nomads_addresses_come_with_the_job() -> None:
    assert _without("off", "203.0.113.9/32") == "off"
    assert _without("auto", "") == "auto"
    assert _without("auto", "203.0.113.9/32") == {"mode": "auto", "deny": ["203.0.113.9/32"]}
    given = {"mode": "required", "allow": ["203.0.113.9/32"], "deny": ["203.0.113.7/32"]}
    assert _without(given, "203.0.113.9/32,203.0.113.10/32")["deny"] == ["203.0.113.7/32", "203.0.113.10/32"]
