"""What the API refuses, in the words of whoever types commands: options in place of fields and headers."""

from __future__ import annotations

import re

from sojourn.cli.environment import here, parameter
from sojourn.cli.profile import why_there
from sojourn.sdk.errors import ApiConnectionError, ApiError, AuthenticationError

_ENV = "check the id, and --env"
#: What to do instead of what the API advises, which speaks of requests.
_TODO = {
    "BODY_INVALID": "correct what was typed; --help has the options",
    "QUERY_INVALID": "correct what was typed; --help has the options",
    "PARAMS_INVALID": "correct what was typed",
    "CURSOR_INVALID": "begin again without --after",
    "MANIFEST_INVALID": "correct the code, and deploy it again",
    "DEPLOYMENT_OLDER": "add --rollback to go back to it",
    "UNAUTHORIZED": "export a key of the environment as SOJOURN_SECRET_KEY; `sojourn status` shows those of the stack here",
    "PERSONAL_TOKEN_REFUSED": "export another as SOJOURN_ACCESS_TOKEN; `sojourn access-tokens create` makes one",
    "QUEUE_NOT_FOUND": "`sojourn queues list` has them, a task's own as task/<task>; check --env",
    "QUEUE_LIMIT_TOO_HIGH": "use at most the environment's limit, or a --percent of it",
    "QUERY_TOO_SLOW": "narrow them to a time: --period, or --from and --to",
    "VERSION_NOT_FOUND": "`sojourn deployments list` has them; or leave --version out",
    "REGION_UNKNOWN": "use one that is listed here, or leave --region out",
    "DEPLOYMENT_NOT_FOUND": "`sojourn deployments list` has what is deployed; `sojourn deploy DIR` brings more",
    "PARENT_IS_OVER": "trigger it without a parent",
    "IDEMPOTENCY_KEY_NOT_FOUND": "check TASK and KEY; a key that is free needs nothing",
    "METADATA_INVALID": "correct that change; none was made",
    "API_KEY_NOT_FOUND": "`sojourn keys list` has them; check --env",
    "WEBHOOK_NOT_FOUND": "`sojourn webhooks list` has them; check --env",
    "DELIVERY_NOT_FOUND": "`sojourn webhooks deliveries WEBHOOK` has them",
    "SCHEDULE_NOT_FOUND": "`sojourn schedules list` has them; check --env",
    "RUN_NOT_FOUND": _ENV,
    "BATCH_NOT_FOUND": _ENV,
    "BULK_ACTION_NOT_FOUND": _ENV,
    "WAITPOINT_NOT_FOUND": _ENV,
}
#: These refusals may have advice of their own, which knows more.
_OF_REQUESTS = "correct what `field` names"
_KEEP_OTHERS = ("BODY_INVALID", "QUERY_INVALID")
#: Options and arguments whose fields have other names.
_TYPED = {
    "idempotencyKeyTTL": "idempotency-key-ttl",
    "lockToVersion": "version",
    "queue.name": "queue",
    "concurrencyKey": "key",
    "concurrencyLimit": "limit",
    "debounce.key": "debounce",
    "debounce.mode": "debounce-mode",
    "debounce.delay": "delay",
    "debounce.maxDelay": "max-delay",
    "expirationTime": "expires",
    "deduplicationKey": "key",
    "tags": "tag",
    "events": "event",
    "scopes": "scope",
    "tasks": "task",
}
#: What is to be typed, where the API would speak of a pattern.
_FORMS = {
    "lockToVersion": "a version is written like 20260131.2",
    "queue.name": "a queue's name has 1 to 128 letters, digits, `_`, `-` and `/`; a task's own queue is task/<task>",
}
_CAPITAL = re.compile("[A-Z]")


def line_of(error: ApiError) -> str:
    """The error in one line, with what to do."""
    step, said = error.next_step, error.message
    if error.code in _TODO and (error.code not in _KEEP_OTHERS or step == _OF_REQUESTS):
        step = _TODO[error.code]
    elif step == _OF_REQUESTS:
        step = _TODO["BODY_INVALID"]
    elif isinstance(error, AuthenticationError) and not error.code:
        step = _TODO["UNAUTHORIZED"]
    elif isinstance(error, ApiConnectionError) and (why := why_there()):
        step = f"{why}; {step}" if step else why
    for title in ("Body Error: ", "Query Error: "):
        said = said.removeprefix(title)
    if error.field:
        said = _typed(said, error.field)
    return f"{said.removesuffix('.')} ({here(step)})" if step else said


def _typed(said: str, field: str) -> str:
    """A text that begins with a field, with what was typed for it in the field's place, where that is known."""
    wire = field.removeprefix("options.")
    name = re.sub(r"\.[0-9]+$", "", wire)
    word = parameter(_TYPED.get(name) or _CAPITAL.sub(lambda found: f"-{found[0].lower()}", name))
    why = said.removeprefix(f"{field}: ")
    if word is None or why == said:
        return said
    if "should match pattern" in why and name in _FORMS:
        why = _FORMS[name]
    return f"{word}: {why.removeprefix('Input ')}"
