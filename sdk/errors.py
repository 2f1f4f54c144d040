"""Every error of the SDK. The class docstring is the message where none is given; `code` is stable.

SojournError
├── ConfigurationError         no key, no URL, a malformed option
├── TaskDefinitionError        a task that cannot be registered
├── PayloadError               a payload that does not fit the task's type hint     (not retried)
├── OutputError                a return value that is not JSON, or too large      (not retried)
├── AbortTaskRunError          raise it to fail the run without a retry
├── OutOfMemoryError           raise it to say that memory ran out
├── SubtaskUnwrapError         a triggered run that was unwrapped did not succeed
├── RunTimeoutError            a result was not there in time
├── BatchNotSealedError        a batch has not all of its items, although they were sent
├── WaitpointTimeoutError      nobody completed a token in time
├── PastDateError              `wait.until` was given a date that is over
├── WebhookVerificationError   a message to a webhook is not the platform's, or is old
├── OutsideRunError            something that exists only inside a run was used outside one
└── ApiError                   the API refused, or could not be reached
    ├── ApiConnectionError     no answer
    ├── BadRequestError 400    ├── AuthenticationError 401   ├── PermissionDeniedError 403
    ├── NotFoundError 404      ├── ConflictError 409         ├── UnprocessableError 422
    ├── RateLimitError 429     └── ServerError 5xx
    └── BatchRateLimitError    a RateLimitError: as many items are in batches as may be for now
CompleteTaskWithOutput         not an error: ends the task as a success from anywhere in it
RunCancelledError              a BaseException that reaches the task's code when its run is cancelled
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any


class SojournError(Exception):
    """Something went wrong."""

    code = "SOJOURN_ERROR"

    def __init__(self, message: str | None = None):
        super().__init__(message or (self.__doc__ or "").strip())


class ConfigurationError(SojournError):
    """The SDK is not configured."""

    code = "CONFIGURATION_ERROR"


class TaskDefinitionError(SojournError):
    """The task cannot be defined like this."""

    code = "TASK_DEFINITION_ERROR"


class PayloadError(SojournError):
    """The payload does not fit the task's type hint."""

    code = "TASK_INPUT_ERROR"


class OutputError(SojournError):
    """The return value cannot be stored as JSON."""

    code = "TASK_OUTPUT_ERROR"


class AbortTaskRunError(SojournError):
    """The run was aborted by its task."""

    code = "ABORT_TASK_RUN"


class OutOfMemoryError(SojournError):
    """The task says that it ran out of memory."""

    code = "TASK_PROCESS_OOM_KILLED"


class SubtaskUnwrapError(SojournError):
    """The run did not succeed. `run_id`, `task_id` and `error` (as the API has it) say which and why."""

    code = "SUBTASK_UNWRAP_ERROR"

    def __init__(self, run_id: str, task_id: str, error: Mapping[str, Any]):
        words = [error.get("name") or error.get("code"), error.get("message") or error.get("raw")]
        text = ": ".join(str(word) for word in words if word) or "unknown error"
        super().__init__(f"{task_id} ({run_id}) did not succeed: {text}")
        self.run_id, self.task_id, self.error = run_id, task_id, dict(error)


class RunTimeoutError(SojournError):
    """The run did not end in time; it goes on."""

    code = "RUN_TIMEOUT"


class BatchNotSealedError(SojournError):
    """The batch has not all of its items; those that it has run."""

    code = "BATCH_NOT_SEALED"

    def __init__(self, batch_id: str, stored: int, expected: int):
        super().__init__(f"the batch {batch_id} has {stored} of {expected} items after they were sent twice")
        self.batch_id, self.stored, self.expected = batch_id, stored, expected


class WaitpointTimeoutError(SojournError):
    """Nobody completed the token in time."""

    code = "WAITPOINT_TIMED_OUT"

    def __init__(self, token_id: str = "", message: str | None = None):
        super().__init__(message or f"nobody completed the token {token_id} in time".replace("  ", " "))
        self.token_id = token_id


class MetadataError(SojournError):
    """The change does not fit the metadata, is too large, or is no JSON."""

    code = "METADATA_INVALID"


class PastDateError(SojournError):
    """The date to wait for is over."""

    code = "PAST_DATE"


class WebhookVerificationError(SojournError):
    """The message is not the platform's."""

    code = "WEBHOOK_VERIFICATION_ERROR"


class OutsideRunError(SojournError):
    """This exists only inside a run."""

    code = "OUTSIDE_RUN"


class ApiError(SojournError):
    """The API refused the request. `status` is its HTTP status, `code`, `field` and `next_step` are its own.

    `message`: what is wrong, without what to do.
    """

    code = "API_ERROR"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        field: str | None = None,
        next_step: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        # What is caught shows no field beside it, so that the text names it.
        step = next_step.replace("what `field` names", f"`{field}`") if next_step and field else next_step
        super().__init__(message + (f" ({step})" if step else ""))
        self.message = message
        self.status, self.field, self.next_step = status, field, next_step
        self.headers = dict(headers or {})
        if code:
            self.code = code


class ApiConnectionError(ApiError):
    """The API did not answer."""

    code = "API_CONNECTION_ERROR"


class BadRequestError(ApiError):
    """The request is malformed."""


class AuthenticationError(ApiError):
    """The key is not known."""


class PermissionDeniedError(ApiError):
    """The key may not do this."""


class NotFoundError(ApiError):
    """There is no such thing in this environment."""


class ConflictError(ApiError):
    """The request meets another one."""


class UnprocessableError(ApiError):
    """A rule forbids it."""


class RateLimitError(ApiError):
    """Too many requests."""

    @property
    def retry_at(self) -> datetime | None:
        """When there is room again, aware; None where the API does not say."""
        from datetime import UTC, datetime

        reset = self.headers.get("x-ratelimit-reset", "")
        return datetime.fromtimestamp(int(reset) / 1000, UTC) if reset.isdecimal() and len(reset) < 15 else None


class BatchRateLimitError(RateLimitError):
    """As many items are in batches as may be for now. Nothing of the batch was triggered."""

    code = "BATCH_RATE_LIMITED"


class ServerError(ApiError):
    """The server failed."""


BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableError,
    429: RateLimitError,
}


#: Those that have a class of their own.
BY_CODE: dict[str, type[ApiError]] = {BatchRateLimitError.code: BatchRateLimitError}


class CompleteTaskWithOutput(Exception):
    """Raise it anywhere in a task to end it as a success with `output`."""

    def __init__(self, output: Any = None):
        super().__init__("the task completes with an output")
        self.output = output


class RunCancelledError(BaseException):
    """The run was cancelled. Raised in the task's code so that its `finally` blocks run; do not swallow it."""
