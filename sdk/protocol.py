"""The words that SDK, shim and server share: statuses, error codes, machines, limits. Imports nothing of ours."""

from __future__ import annotations

from enum import StrEnum

VERSION = "0.1.0"

#: The API vocabulary that this release speaks (header `x-trigger-api-version`).
API_VERSION = "2025-07-16"

#: Bytes. A payload above the limit is refused; an output above it fails the attempt.
MAX_PAYLOAD_BYTES = 3 * 1024 * 1024
#: Waits of one run that are pending at once.
MAX_WAITS = 10_000
MAX_OUTPUT_BYTES = 10 * 1024 * 1024
MAX_METADATA_BYTES = 256 * 1024
#: Bytes kept of an error's message and stack; the name is cut at 1 KB.
MAX_ERROR_TEXT_BYTES = 16 * 1024
#: Characters kept of one log line; longer ones end in a marker.
MAX_LOG_LINE_CHARS = 32 * 1024
MAX_TAGS = 10
MAX_TAG_CHARS = 128
MAX_IDEMPOTENCY_KEY_CHARS = 2048
MAX_QUEUE_NAME_CHARS = 128
MAX_CONCURRENCY_KEY_CHARS = 512
MAX_DEBOUNCE_KEY_CHARS = 512
#: Bytes of a payload or an output that are kept beside the run; more goes to the object store.
MAX_INLINE_BYTES = 512 * 1024
#: Runs of a queue at once.
MAX_QUEUE_LIMIT = 100_000
#: Starts of a queue's rate, and the seconds of its period.
MAX_RATE = 1_000_000
MAX_RATE_SECONDS = 400 * 86_400

#: Attempts a run may ever have, whatever its retry options say.
MAX_ATTEMPTS = 250
#: Seconds. `NO_MAX_DURATION` stands for "no limit".
MIN_MAX_DURATION = 5
NO_MAX_DURATION = 2_147_483_647


class RunStatus(StrEnum):
    """What users see of a run. Final ones never change."""

    DELAYED = "DELAYED"  # its start lies in the future
    PENDING_VERSION = "PENDING_VERSION"  # no deployed version has its task yet
    QUEUED = "QUEUED"  # waits for a slot and an executor
    DEQUEUED = "DEQUEUED"  # an executor is being given the run
    EXECUTING = "EXECUTING"  # an attempt runs (also between two immediate attempts)
    WAITING = "WAITING"  # frozen or parked until a waitpoint completes
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    CRASHED = "CRASHED"
    SYSTEM_FAILURE = "SYSTEM_FAILURE"
    TIMED_OUT = "TIMED_OUT"
    EXPIRED = "EXPIRED"


FINAL_STATUSES = frozenset(
    {
        RunStatus.COMPLETED,
        RunStatus.FAILED,
        RunStatus.CANCELED,
        RunStatus.CRASHED,
        RunStatus.SYSTEM_FAILURE,
        RunStatus.TIMED_OUT,
        RunStatus.EXPIRED,
    }
)


class SnapshotStatus(StrEnum):
    """Where a run stands for the platform; the newest row of its history."""

    RUN_CREATED = "RUN_CREATED"
    DELAYED = "DELAYED"
    QUEUED = "QUEUED"
    PENDING_EXECUTING = "PENDING_EXECUTING"
    EXECUTING = "EXECUTING"
    EXECUTING_WITH_WAITPOINTS = "EXECUTING_WITH_WAITPOINTS"
    QUEUED_EXECUTING = "QUEUED_EXECUTING"
    SUSPENDED = "SUSPENDED"
    PENDING_CANCEL = "PENDING_CANCEL"
    FINISHED = "FINISHED"


class ErrorKind(StrEnum):
    """The `type` of a run's error on the wire."""

    BUILT_IN_ERROR = "BUILT_IN_ERROR"  # {name, message, stackTrace}: an exception of user code
    CUSTOM_ERROR = "CUSTOM_ERROR"  # {raw}: JSON text that user code chose
    STRING_ERROR = "STRING_ERROR"  # {raw}: plain text
    INTERNAL_ERROR = "INTERNAL_ERROR"  # {code, message?, stackTrace?}: see ErrorCode


class ErrorCode(StrEnum):
    """The `code` of an INTERNAL_ERROR."""

    # user code's surroundings
    TASK_INPUT_ERROR = "TASK_INPUT_ERROR"  # the payload does not fit the task's type
    TASK_OUTPUT_ERROR = "TASK_OUTPUT_ERROR"  # the return value is not JSON, or too large
    TASK_MIDDLEWARE_ERROR = "TASK_MIDDLEWARE_ERROR"
    HANDLE_ERROR_ERROR = "HANDLE_ERROR_ERROR"  # catch_error itself raised
    TASK_RUN_UNCAUGHT_EXCEPTION = "TASK_RUN_UNCAUGHT_EXCEPTION"
    # how the user's process ended
    TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE = "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"
    TASK_PROCESS_SIGTERM = "TASK_PROCESS_SIGTERM"
    TASK_PROCESS_SIGSEGV = "TASK_PROCESS_SIGSEGV"
    TASK_PROCESS_OOM_KILLED = "TASK_PROCESS_OOM_KILLED"
    TASK_PROCESS_MAYBE_OOM_KILLED = "TASK_PROCESS_MAYBE_OOM_KILLED"  # SIGKILL that was not ours
    TASK_PROCESS_SIGKILL_TIMEOUT = "TASK_PROCESS_SIGKILL_TIMEOUT"
    TASK_RUN_CRASHED = "TASK_RUN_CRASHED"  # another fatal signal, exit 0 without a result, or the executor died
    # deadlines and lost executors
    MAX_DURATION_EXCEEDED = "MAX_DURATION_EXCEEDED"
    TASK_RUN_STALLED_EXECUTING = "TASK_RUN_STALLED_EXECUTING"  # heartbeats stopped
    TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS = "TASK_RUN_STALLED_EXECUTING_WITH_WAITPOINTS"
    TASK_RUN_HEARTBEAT_TIMEOUT = "TASK_RUN_HEARTBEAT_TIMEOUT"
    GRACEFUL_EXIT_TIMEOUT = "GRACEFUL_EXIT_TIMEOUT"
    CHECKPOINT_INVALID = "CHECKPOINT_INVALID"  # the frozen process cannot be had back
    THAW_FAILED = "THAW_FAILED"  # it could not be restored this time
    TASK_RUN_CANCELLED = "TASK_RUN_CANCELLED"
    # the platform's
    COULD_NOT_FIND_EXECUTOR = "COULD_NOT_FIND_EXECUTOR"
    COULD_NOT_FIND_TASK = "COULD_NOT_FIND_TASK"
    COULD_NOT_IMPORT_TASK = "COULD_NOT_IMPORT_TASK"
    CONFIGURED_INCORRECTLY = "CONFIGURED_INCORRECTLY"
    TASK_ALREADY_RUNNING = "TASK_ALREADY_RUNNING"
    TASK_DEQUEUED_INVALID_STATE = "TASK_DEQUEUED_INVALID_STATE"
    TASK_DEQUEUED_QUEUE_NOT_FOUND = "TASK_DEQUEUED_QUEUE_NOT_FOUND"
    TASK_RUN_DEQUEUED_MAX_RETRIES = "TASK_RUN_DEQUEUED_MAX_RETRIES"
    TASK_HAS_N0_EXECUTION_SNAPSHOT = "TASK_HAS_N0_EXECUTION_SNAPSHOT"  # the digit is the wire's
    TASK_EXECUTION_ABORTED = "TASK_EXECUTION_ABORTED"
    TASK_EXECUTION_FAILED = "TASK_EXECUTION_FAILED"
    DISK_SPACE_EXCEEDED = "DISK_SPACE_EXCEEDED"
    OUTDATED_SDK_VERSION = "OUTDATED_SDK_VERSION"
    POD_EVICTED = "POD_EVICTED"
    POD_UNKNOWN_ERROR = "POD_UNKNOWN_ERROR"
    RECURSIVE_WAIT_DEADLOCK = "RECURSIVE_WAIT_DEADLOCK"
    TASK_DID_CONCURRENT_WAIT = "TASK_DID_CONCURRENT_WAIT"
    BATCH_ITEM_COULD_NOT_TRIGGER = "BATCH_ITEM_COULD_NOT_TRIGGER"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSPECIFIED_ERROR = "UNSPECIFIED_ERROR"


class Completion(StrEnum):
    """What the platform made of an attempt's outcome: the answer to *complete*."""

    RUN_FINISHED = "RUN_FINISHED"
    RUN_PENDING_CANCEL = "RUN_PENDING_CANCEL"
    RETRY_QUEUED = "RETRY_QUEUED"  # through the queue; the executor is free
    RETRY_IMMEDIATELY = "RETRY_IMMEDIATELY"  # the executor keeps the run and starts again at `retryAt`
    STALE = "STALE"  # the run has moved on without this executor: drop everything


class Machine:
    """A preset: virtual CPUs and memory in GB. (No dataclass: every start of a user's process pays for its import.)"""

    __slots__ = ("cpu", "memory", "name")

    def __init__(self, name: str, cpu: float, memory: float):
        self.name, self.cpu, self.memory = name, cpu, memory

    @property
    def memory_bytes(self) -> int:
        return int(self.memory * 1024**3)


MACHINES = {
    machine.name: machine
    for machine in (
        Machine("micro", 0.25, 0.25),
        Machine("small-1x", 0.5, 0.5),
        Machine("small-2x", 1, 1),
        Machine("medium-1x", 1, 2),
        Machine("medium-2x", 2, 4),
        Machine("large-1x", 4, 8),
        Machine("large-2x", 8, 16),
    )
}
DEFAULT_MACHINE = "small-1x"
