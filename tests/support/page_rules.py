"""What Schemathesis is told beside the OpenAPI page: how lines of JSON are sent, and which rules no schema can say.

Loaded into its process as its hooks, and read by the test that starts it. A refusal of what fits the page has to be one of
`UNSAID`; for what a schema could say, mend the page (`api/patterns.py`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import schemathesis

from sojourn.control_plane.api.problems import CODES
from sojourn.control_plane.api.routes import ROUTES
from tests.support.json_lines import one_line
from tests.support.own_addresses import filter_case

__all__ = ["filter_case", "one_line"]

#: What the tool allows of itself: who calls, whether the thing is there, how it stands, and how often one may ask.
ALLOWED = ("2xx", "3xx", "401", "403", "404", "409", "429", "5xx")
REFUSED = ("400", "401", "404", "405", "409", "413", "414", "415", "422")
#: Requests to an operation that are made up, beside those that the page's own words lead to; and sequences of requests.
_EXAMPLES, _HISTORIES = 5, 40
#: Seconds; a schema's own longest wait would be a minute for each case.
_SHORT_WAIT = 0.1


@dataclass(frozen=True)
class Unsaid:
    """Refusals that are no fault of the page's: expressions for operations, codes and fields, why, and words of theirs."""

    operation: str
    code: str
    field: str
    why: str
    says: str = ""

    def covers(self, operation: str, code: str, field: str, error: str) -> bool:
        names = ((self.operation, operation), (self.code, code), (self.field, field))
        return self.says in error and all(re.fullmatch(expression, name) for expression, name in names)


ANY = ".*"
_INVALID = "BODY_INVALID|QUERY_INVALID"
_TIMES = (
    r"(options\.(debounce\.)?)?(delay|maxDelay|ttl|idempotencyKeyTTL)|idempotencyKeyTTL|timeout|period|expires|from|to"
    r"|expirationTime|gracePeriod|filter\.(from|to|period)|filter\[createdAt\]\[(from|to|period)\]"
)
UNSAID = (
    Unsaid(ANY, _INVALID, _TIMES, "a date exists or does not, lies before or after another, and neither is without bounds"),
    Unsaid(ANY, _INVALID, ANY + "(Key|Id)", "an index counts bytes, a schema characters"),
    Unsaid(ANY, "BODY_INVALID", ANY, "1.0 is an integer to a schema, not to the reader", "Input should be a valid integer"),
    Unsaid(ANY, "BODY_TOO_LARGE|METADATA_TOO_LARGE", ANY, "bytes of a whole body, too"),
    Unsaid(ANY, "INVALID_JSON", "", "half a surrogate pair, or a number that no float holds"),
    Unsaid(ANY, "CURSOR_INVALID", r"page\[(after|before)\]", "a cursor is signed"),
    Unsaid(ANY, "QUERY_INVALID", r"page\[before\]", "parameters cannot exclude each other"),
    Unsaid(ANY, "QUERY_INVALID", r"(filter\[)?\w+\]?", "commas alone are no value, and there are 100 at most"),
    Unsaid(ANY, "TOO_MANY_TAGS", ANY, "blank tags and repeated ones do not count"),
    Unsaid(ANY, "REGION_UNKNOWN", ANY, "regions are a setting"),
    Unsaid(ANY, "RUN_NOT_DELAYED|RUN_NOT_REPLAYABLE|QUEUE_NOT_OVERRIDDEN|BULK_ACTION_OVER", ANY, "how a thing stands"),
    Unsaid(ANY, "PARENT_IS_OVER|QUEUE_FULL|TOO_MANY_\\w+", ANY, "how much there is"),
    Unsaid("packets_\\w+", "PARAMS_INVALID", "file", "how many segments and characters it has"),
    Unsaid(ANY, "PARAMS_INVALID", "taskId", "a task's id is printable"),
    Unsaid(ANY, "BODY_INVALID", ANY, "a task's id is printable, and an address can name it", "a task's id"),
    Unsaid("batches_create", "BODY_INVALID", "runCount", "1,000, or 100,000 where a header says so"),
    Unsaid("batches_create", "BATCH_\\w+", ANY, "what the batch with the key is"),
    Unsaid("batches_fill", "BATCH_ITEM_INVALID|BATCH_\\w+", ANY, "a task's id is printable; how many items there may be"),
    Unsaid("bulk_actions_create", "BODY_INVALID", "filter|filter.status|filter.error", "what is over cannot be cancelled"),
    Unsaid("bulk_actions_create", "BODY_INVALID", "targetRegion", "only replays go anywhere"),
    Unsaid("deployments_deploy", "MANIFEST_INVALID|ARCHIVE_INVALID", ANY, "these have forms of their own"),
    Unsaid("deployments_deploy", "BODY_INVALID", "archive", "how much padding base 64 may have"),
    Unsaid("queues_set_rate", "BODY_INVALID", "burst", "a burst is within its limit"),
    Unsaid("public_tokens_create\\w*", "BODY_INVALID", "scopes", "what a token has in all"),
    Unsaid("runs_change_metadata|runs_add_tags", "BODY_INVALID", ANY, "an operation is about what is there"),
    Unsaid("schedules_\\w+", "SCHEDULE_INVALID", "cron|timezone|window|task", "days exist or do not; so do zones"),
    Unsaid("tasks_trigger", "VERSION_NOT_FOUND", "options.lockToVersion", "what was deployed"),
    Unsaid("tasks_trigger", "PAYLOAD_TYPE_UNSUPPORTED", ANY, "a media type may have parameters"),
    Unsaid("tasks_trigger", "BODY_INVALID", r"payload|options\.metadata", "a text whose own JSON is read"),
    Unsaid("packets_\\w+", "BODY_\\w+|CONTENT_\\w+", ANY, "what was announced is what comes"),
    Unsaid("tokens_call_back", "LENGTH_REQUIRED", ANY, "a header"),
    Unsaid("variables_\\w+", "VARIABLE_INVALID", ANY, "names of the platform's own; what a dotenv file is"),
    Unsaid("webhooks_\\w+", "WEBHOOK_INVALID", "url", "where messages may go is a setting"),
)  # fmt: skip


def operation_of(route: Any) -> str:
    return str(route.action.replace(".", "_"))


def allowed(operation: str, codes: tuple[str, ...]) -> list[str]:
    """The statuses that an operation may answer what fits the page with."""
    statuses = {str(CODES[code].status) for code in codes for rule in UNSAID if _may(rule, operation, code)}
    return [*ALLOWED, *sorted(statuses - set(ALLOWED)), "414"]


def configuration(parameters: dict[str, dict[str, str]]) -> str:
    """Schemathesis' configuration: every check is on. `parameters`: values for an operation's parameters."""
    parts = [
        'hooks = "tests.support.page_rules"',
        f"[generation]\nmax-examples = {_EXAMPLES}",
        f"[phases.stateful.generation]\nmax-examples = {_HISTORIES}",
        f"[checks]\nnegative_data_rejection.expected-statuses = {json.dumps(REFUSED)}",
    ]
    for route in ROUTES:
        operation = operation_of(route)
        part = ["[[operations]]", f'include-operation-id = "{operation}"']
        part.append(
            f"checks.positive_data_acceptance.expected-statuses = {json.dumps(allowed(operation, route.all_codes))}"
        )
        if operation in _ANSWERED_ALL_THE_SAME:
            statuses = json.dumps([*REFUSED, _ANSWERED_ALL_THE_SAME[operation]])
            part.append(f"checks.negative_data_rejection.expected-statuses = {statuses}")
        part += [
            f"parameters.{json.dumps(name)} = {json.dumps(value)}" for name, value in parameters.get(operation, {}).items()
        ]
        parts.append("\n".join(part))
    return "\n\n".join(parts)


#: What is answered though it does not fit: an item that cannot be triggered is a run that failed; an address that opens
#: nothing is refused before what comes with it is looked at.
_ANSWERED_ALL_THE_SAME = {"batches_fill": "200", "packets_read": "403", "packets_write": "403", "tokens_call_back": "200"}


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    wait = (query or {}).get("wait")
    if query and isinstance(wait, int | float) and _SHORT_WAIT < wait <= 60:
        query["wait"] = _SHORT_WAIT
    return query


@schemathesis.check
def refusals_are_accounted_for(context: Any, response: Any, case: Any) -> bool | None:
    """What fits the page is refused for a reason that no schema can say."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return None
    if response.status_code not in (400, 405, 406, 408, 411, 413, 415, 422):
        return None
    told = response.json()
    operation = case.operation.definition.raw["operationId"]
    field = re.sub(r"\.\d+(?=\.|$)", ".N", told.get("field") or "")
    if any(rule.covers(operation, told["code"], field, str(told["error"])) for rule in UNSAID):
        return None
    raise AssertionError(
        f"{operation} refuses what fits the page, for {field or 'its'} {told['code']}: say it on the page"
        f" (api/patterns.py) or, where no schema can, in tests/support/page_rules.py"
    )


def _may(rule: Unsaid, operation: str, code: str) -> bool:
    return bool(re.fullmatch(rule.operation, operation) and re.fullmatch(rule.code, code))
