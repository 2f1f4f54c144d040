"""A real stack whose executors are jobs of a real Nomad agent, and what a test asks that agent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import nomad_client
from sojourn.sdk.client import Client
from tests.support.schedulers import database_of
from tests.support.stack import Stack, until

NAMESPACE = "sojourn"
#: Starts a stack with settings of its own.
Starts = Callable[..., "NomadStack"]


class Cluster(Protocol):
    """A Nomad of the tests': what Sojourn has there at run time, and the right to everything."""

    @property
    def access(self) -> NomadAccess: ...

    @property
    def management(self) -> NomadAccess: ...


class NomadStack(Stack):
    """`agent` may be the session's: jobs of other tests are on it, too."""

    def __init__(self, agent: Cluster, **settings: str):
        access = agent.access
        super().__init__(
            **{
                "NOMAD_ADDR": access.address,
                "NOMAD_TOKEN": access.token,
                "NOMAD_NAMESPACE": access.namespace,
                "NOMAD_REGION": access.region,
                "SOJOURN_NOMAD_PLACES": "6",
                **settings,
            }
        )
        self.agent = agent
        self._client = nomad_client(agent.management)

    def children(self) -> list[dict[str, Any]]:
        """The dispatched jobs of this stack, as Nomad lists them; the oldest first."""
        ids = [found["environment_id"] for found in self._environments()]
        query = {"namespace": NAMESPACE, "meta": "true"}
        jobs = self._client.jobs.request(method="get", params=query).json()
        ours = [job for job in jobs if job["ParentID"] and any(f"-{each}-" in job["ParentID"] for each in ids)]
        return sorted(ours, key=lambda job: (job["CreateIndex"], job["ID"]))

    def documents(self) -> str:
        """Every job, allocation and evaluation of the namespace, whole, as text."""
        found: list[Any] = []
        for kind in ("jobs", "allocations", "evaluations"):
            rows = self.ask(kind)
            one = {"jobs": "job", "allocations": "allocation", "evaluations": "evaluation"}[kind]
            found += [self.ask(f"{one}/{quoted(row['ID'])}") for row in rows]
        return json.dumps(found)

    def ask(self, path: str, **query: str) -> Any:
        """Something of Nomad's API, with all rights."""
        requester = self._client.jobs
        told: Mapping[str, str] = {"namespace": NAMESPACE, **query}
        return requester._request(method="get", endpoint=f"v1/{path}", params=dict(told)).json()

    def tell(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Has Nomad do something."""
        requester = self._client.jobs
        told = {"namespace": NAMESPACE, **query}
        return requester._request(method=method, endpoint=f"v1/{path}", params=told, json=body).json()

    def tell_nothing(self, method: str, path: str) -> None:
        """Has Nomad do something that it does not answer."""
        requester = self._client.jobs
        requester._request(method=method, endpoint=f"v1/{path}")

    def allocations(self, child: str) -> list[dict[str, Any]]:
        """The allocations of a dispatched job."""
        return list(self.ask(f"job/{quoted(child)}/allocations"))

    def _environments(self) -> list[dict[str, Any]]:
        database = database_of(self)
        try:
            return database.rows("SELECT id AS environment_id FROM environments")
        finally:
            database.close()


def quoted(text: str) -> str:
    """A job's id in a path."""
    return quote(text, safe="")


def result(client: Client, run: str, seconds: float = 40) -> dict[str, Any]:
    """How a run ended."""
    found: dict[str, Any] = until(lambda: client.result(run, wait=5), seconds, f"{run} ends")
    return found


def executor(client: Client, run: str) -> dict[str, Any]:
    """Where the run is, once Nomad's own names for it are known."""
    found: dict[str, Any] = until(
        lambda: (told := client.retrieve(run).get("executor") or {}).get("nodeId") and told, 20, "its node is known"
    )
    return found


def shim_of(name: str) -> int:
    """The pid of an executor's shim."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_shim = b"executor_shim\0--nomad" in (entry / "cmdline").read_bytes()
            if is_shim and f"NOMAD_META_executor={name}\0".encode() in (entry / "environ").read_bytes():
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError(f"{name} has no process")
