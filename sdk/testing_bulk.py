"""Bulk actions in a test: what one is asked for is done at once, from the newest run to the oldest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sojourn.sdk.protocol import FINAL_STATUSES
from sojourn.sdk.testing_checks import refused
from sojourn.sdk.testing_clock import Clock
from sojourn.sdk.testing_http import Row
from sojourn.sdk.testing_refusal import Refused

_PAGE = 25


@dataclass(frozen=True, slots=True)
class _Action:
    """`runs`: those that were cancelled, or that replays are."""

    wire: Mapping[str, Any]
    runs: frozenset[str]


class BulkBook:
    """Every bulk action of a test's platform."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._actions: dict[str, _Action] = {}

    def routes(self) -> list[Row]:
        """What can be asked of them once they are made."""
        actions, one = "/api/v1/bulk-actions", "/api/v1/bulk-actions/([^/]+)"
        return [
            ("GET", actions, lambda _, query: self.page(query)),
            ("GET", one, lambda action, *_: self.retrieve(action)),
            ("POST", f"{one}/abort", lambda action, *_: self.abort(action)),
        ]

    def create(
        self, body: Mapping[str, Any], found: Callable[[Mapping[str, Any]], Sequence[str]], act: Callable[[str], str | None]
    ) -> Mapping[str, Any]:
        """Acts on runs that are named, or that `found` gives for a list's query; an action that is complete.

        `act`: what is done to a run; the run that was cancelled, or made, or None where that could not be.
        """
        _check(body)
        named = body.get("runIds")
        runs = list(found(query_of(body["filter"]))) if named is None else list(dict.fromkeys(reversed(named)))
        at = self._clock.told().isoformat()
        done = [made for made in map(act, runs) if made is not None]
        wire = {
            "id": f"bulk_test{len(self._actions) + 1}",
            "type": body["action"].upper(),
            "status": "COMPLETED",
            "counts": {"total": len(runs), "success": len(done), "failure": len(runs) - len(done)},
            "createdAt": at,
            "completedAt": at,
        } | ({"name": body["name"]} if body.get("name") else {})
        self._actions[wire["id"]] = _Action(wire, frozenset(done))
        return wire

    def of(self, run_id: str) -> set[str]:
        """The actions that a run is of."""
        return {name for name, action in self._actions.items() if run_id in action.runs}

    def retrieve(self, action_id: str) -> Mapping[str, Any]:
        """An action."""
        if action_id not in self._actions:
            raise Refused(404, "BULK_ACTION_NOT_FOUND", "There is no such bulk action in this environment.")
        return self._actions[action_id].wire

    def page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Actions, newest first."""
        names = list(reversed(self._actions))
        begin, size = int(query.get("page[after]", 0)), int(query.get("page[size]", _PAGE))
        more = begin + size < len(names)
        shown = [self._actions[name].wire for name in names[begin : begin + size]]
        return {"data": shown, "pagination": {"next": str(begin + size)} if more else {}}

    def abort(self, action_id: str) -> Mapping[str, Any]:
        """Refused, since an action is complete at once."""
        self.retrieve(action_id)
        raise Refused(422, "BULK_ACTION_OVER", "The bulk action is complete.")


def query_of(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A bulk action's filter in the words of a list's query."""
    query: dict[str, Any] = {}
    for name, value in wanted.items():
        if name in ("from", "to", "period"):
            query[f"filter[createdAt][{name}]"] = value
        elif name == "isTest":
            query["filter[isTest]"] = "true" if value else "false"
        elif name == "queue":
            query["filter[queue]"] = [_queue(each) for each in ([value] if isinstance(value, dict) else value)]
        else:
            query[f"filter[{name}]"] = [value] if isinstance(value, str) else list(value)
    return query


def _queue(named: Mapping[str, str]) -> str:
    return f"task/{named['name']}" if named["type"] == "task" else named["name"]


def _check(body: Mapping[str, Any]) -> None:
    """What is no replay goes nowhere else, and runs that are over are not cancelled."""
    if body["action"] == "replay":
        return
    if body.get("targetRegion") is not None:
        raise refused("targetRegion", "only replays can go elsewhere")
    wanted = body.get("filter") or {}
    if wanted.get("error") is not None:
        raise refused("filter.error", "runs that ended with an error cannot be cancelled")
    statuses = wanted.get("status") or []
    if statuses and {*([statuses] if isinstance(statuses, str) else statuses)} <= FINAL_STATUSES:
        raise refused("filter.status", "runs that are over cannot be cancelled")
