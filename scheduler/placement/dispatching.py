"""Dispatching executors' jobs, one after the other in a thread: whoever places waits for Nomad no longer than it likes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from sojourn.control_plane import faults
from sojourn.nomad_jobs import spec
from sojourn.nomad_jobs.client import Client, NomadError, NotThere
from sojourn.scheduler.placement.base import ExecutorSpec


@dataclass(frozen=True, slots=True)
class _Dispatch:
    answer: Future[str]
    executor: ExecutorSpec
    document: Mapping[str, object]
    namespace: str


class Dispatching:
    """On one cluster. It remembers which jobs are registered as they should be."""

    def __init__(self, client: Client, cluster: str):
        self._client = client
        self._due: queue.Queue[_Dispatch | None] = queue.Queue()
        self._registered: dict[str, str] = {}
        threading.Thread(target=self._dispatch_on, name=f"dispatching {cluster}", daemon=True).start()

    def dispatch(self, executor: ExecutorSpec, document: Mapping[str, object], namespace: str) -> Future[str]:
        """Has a child of the document's job dispatched for an executor; its id, or `NomadError`, is there later."""
        answer: Future[str] = Future()
        self._due.put(_Dispatch(answer, executor, document, namespace))
        return answer

    def forget(self, job: str) -> None:
        """A job may not be registered any more: its next dispatch looks."""
        self._registered.pop(job, None)

    def leave(self) -> None:
        """Ends the thread when it is done with what is due."""
        self._due.put(None)

    # --- the thread

    def _dispatch_on(self) -> None:
        while due := self._due.get():
            try:
                faults.point("nomad.before_dispatch")
                due.answer.set_result(self._dispatch(due.executor, due.document, due.namespace))
            except BaseException as error:
                due.answer.set_exception(error)

    def _dispatch(self, executor: ExecutorSpec, document: Mapping[str, object], namespace: str) -> str:
        """Registers what must be there, dispatches; the child's id."""
        self._register(document, namespace)
        meta = {"executor": executor.executor}
        if executor.run:
            meta |= {"run": executor.run, "snapshot": str(executor.snapshot)}
        # One placement, one token: however often it is asked for, it makes one child.
        token = f"{executor.run}:{executor.snapshot}" if executor.run else executor.executor
        job = str(document["ID"])
        try:
            try:
                return self._client.dispatch(job, executor.executor, meta, token, namespace)
            except NotThere:
                self.forget(job)
                self._register(document, namespace)
                return self._client.dispatch(job, executor.executor, meta, token, namespace)
        except NomadError:
            self.forget(job)  # whatever it was, the next placement looks whether the job is well
            raise

    def _register(self, document: Mapping[str, object], namespace: str) -> None:
        job, digest = str(document["ID"]), f"{namespace} {spec.digest(dict(document))}"
        if self._registered.get(job) != digest:
            self._client.register({**document, "Namespace": namespace})
            self._registered[job] = digest
