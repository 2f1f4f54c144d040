"""Stopping executors by their jobs, in a thread: Nomad may take its time, and what fails is tried again."""

from __future__ import annotations

import logging
import queue
import threading

from sojourn.control_plane.store.database import StoreUnavailable
from sojourn.control_plane.store.executors import Executors
from sojourn.control_plane.store.records import Executor
from sojourn.nomad_jobs.client import Client, NomadError

log = logging.getLogger(__name__)

#: How many executors are remembered that could not be stopped, and how often they are tried again.
_MANY, _TRIES = 1000, 60


class Stopping:
    """Of one cluster's executors."""

    def __init__(self, client: Client, executors: Executors, cluster: str):
        self._client = client
        self._executors = executors
        self._cluster = cluster
        self._due: queue.Queue[str] = queue.Queue()
        self._failed: dict[str, int] = {}
        threading.Thread(target=self._stop_on, name=f"stopping {cluster}", daemon=True).start()

    def stop(self, executor: str) -> None:
        """Has whatever Nomad has of an executor deregistered, and returns at once."""
        self._due.put(executor)

    def try_again(self) -> None:
        """Those that could not be stopped, unless others are waiting still.

        What stays after many tries is given up: it goes when its job is removed.
        """
        if self._due.empty():
            for name in list(self._failed):
                self._due.put(name)

    def leave(self) -> None:
        """Ends the thread when it is done with what is due."""
        self._due.put("")

    # --- the thread

    def _stop_on(self) -> None:
        while executor := self._due.get():
            try:
                self._stop(executor)
                self._failed.pop(executor, None)
            except (NomadError, StoreUnavailable) as error:
                log.warning("%s is not stopped yet: %s", executor, error)
                self._remember(executor)
            except Exception:
                log.exception("%s is not stopped", executor)

    def _stop(self, executor: str) -> None:
        row = self._executors.find(executor)
        if row is not None and row.cluster == self._cluster:
            for child in children_of(self._client, row):
                self._client.deregister(child, row.namespace)

    def _remember(self, executor: str) -> None:
        tries = self._failed.pop(executor, 0) + 1
        if tries < _TRIES and len(self._failed) < _MANY:
            self._failed[executor] = tries


def children_of(client: Client, row: Executor) -> list[str]:
    """What Nomad may have of an executor: the child that is known, or whatever was dispatched for it."""
    if row.child_job_id:
        return [row.child_job_id]
    return [str(each["ID"]) for each in client.children(row.job_id, row.id, row.namespace)]
