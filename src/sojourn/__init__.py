"""Sojourn's public face: what a developer imports to write and trigger tasks.

Names are loaded when they are first used, so that importing a task costs no more than the task needs.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn import testing
    from sojourn.sdk.auth import auth
    from sojourn.sdk.aio import AsyncClient
    from sojourn.sdk.batch import BatchHandle, batch
    from sojourn.sdk.batches import BatchState
    from sojourn.sdk.bulk_actions import BulkActionState, bulk_actions
    from sojourn.sdk.client import Client
    from sojourn.sdk.context import context
    from sojourn.sdk.decision import RetryAt, RetryIn, Skip
    from sojourn.sdk.default_client import configure
    from sojourn.sdk.deployments import DeploymentState, deployments
    from sojourn.sdk.envvars import EnvVar, envvars
    from sojourn.sdk.errors import (
        AbortTaskRunError,
        ApiError,
        BatchNotSealedError,
        CompleteTaskWithOutput,
        MetadataError,
        OutOfMemoryError,
        RunCancelledError,
        RunTimeoutError,
        SojournError,
        SubtaskUnwrapError,
        WaitpointTimeoutError,
        WebhookVerificationError,
    )
    from sojourn.sdk.idempotency_keys import IdempotencyKey, idempotency_keys
    from sojourn.sdk.keys import KeyState, keys
    from sojourn.sdk.logger import logger
    from sojourn.sdk.metadata import metadata
    from sojourn.sdk.options import Debounce, Queue, Rate, Retry
    from sojourn.sdk.queues import QueueState, queues
    from sojourn.sdk.result import TaskResult
    from sojourn.sdk.run import Run, RunHandle, runs
    from sojourn.sdk.run_end import RunEnd
    from sojourn.sdk.run_locals import locals
    from sojourn.sdk.schedule import Schedule
    from sojourn.sdk.scheduled_payload import ScheduledPayload
    from sojourn.sdk.schedules import schedules
    from sojourn.sdk.tasks import task, tasks
    from sojourn.sdk.tokens import Token, TokenResult
    from sojourn.sdk.wait import wait
    from sojourn.sdk.webhook_state import WebhookDelivery, WebhookState
    from sojourn.sdk.webhooks import webhooks

__all__ = [
    "AbortTaskRunError",
    "ApiError",
    "AsyncClient",
    "BatchHandle",
    "BatchNotSealedError",
    "BatchState",
    "BulkActionState",
    "Client",
    "CompleteTaskWithOutput",
    "Debounce",
    "DeploymentState",
    "EnvVar",
    "IdempotencyKey",
    "KeyState",
    "MetadataError",
    "OutOfMemoryError",
    "Queue",
    "QueueState",
    "Rate",
    "Retry",
    "RetryAt",
    "RetryIn",
    "Run",
    "RunCancelledError",
    "RunEnd",
    "RunHandle",
    "RunTimeoutError",
    "Schedule",
    "ScheduledPayload",
    "Skip",
    "SojournError",
    "SubtaskUnwrapError",
    "TaskResult",
    "Token",
    "TokenResult",
    "WaitpointTimeoutError",
    "WebhookDelivery",
    "WebhookState",
    "WebhookVerificationError",
    "auth",
    "batch",
    "bulk_actions",
    "configure",
    "context",
    "deployments",
    "envvars",
    "idempotency_keys",
    "keys",
    "locals",
    "logger",
    "metadata",
    "queues",
    "runs",
    "schedules",
    "task",
    "tasks",
    "testing",
    "wait",
    "webhooks",
]

_PLACES = {
    "sdk.auth": ("auth",),
    "sdk.aio": ("AsyncClient",),
    "sdk.batch": ("BatchHandle", "batch"),
    "sdk.batches": ("BatchState",),
    "sdk.bulk_actions": ("BulkActionState", "bulk_actions"),
    "sdk.client": ("Client",),
    "sdk.context": ("context",),
    "sdk.decision": ("RetryAt", "RetryIn", "Skip"),
    "sdk.default_client": ("configure",),
    "sdk.deployments": ("DeploymentState", "deployments"),
    "sdk.envvars": ("EnvVar", "envvars"),
    "sdk.errors": (
        "AbortTaskRunError",
        "ApiError",
        "BatchNotSealedError",
        "CompleteTaskWithOutput",
        "MetadataError",
        "OutOfMemoryError",
        "RunCancelledError",
        "RunTimeoutError",
        "SojournError",
        "SubtaskUnwrapError",
        "WaitpointTimeoutError",
        "WebhookVerificationError",
    ),
    "sdk.idempotency_keys": ("IdempotencyKey", "idempotency_keys"),
    "sdk.keys": ("KeyState", "keys"),
    "sdk.logger": ("logger",),
    "sdk.metadata": ("metadata",),
    "sdk.options": ("Debounce", "Queue", "Rate", "Retry"),
    "sdk.queues": ("QueueState", "queues"),
    "sdk.result": ("TaskResult",),
    "sdk.run": ("Run", "RunHandle", "runs"),
    "sdk.run_end": ("RunEnd",),
    "sdk.run_locals": ("locals",),
    "sdk.schedule": ("Schedule",),
    "sdk.scheduled_payload": ("ScheduledPayload",),
    "sdk.schedules": ("schedules",),
    "sdk.tasks": ("task", "tasks"),
    "sdk.tokens": ("Token", "TokenResult"),
    "sdk.wait": ("wait",),
    "sdk.webhook_state": ("WebhookDelivery", "WebhookState"),
    "sdk.webhooks": ("webhooks",),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "testing":
        return import_module("sojourn.testing")
    for place, names in _PLACES.items():
        if name in names:
            value = getattr(import_module(f"sojourn.{place}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'sojourn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
