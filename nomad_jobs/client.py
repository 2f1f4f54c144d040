"""Nomad's API as placement uses it: few calls, clean errors, an event stream that can be resumed."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.control_plane.nomad_client import (
    BaseNomadException,
    URLNotFoundNomadException,
    nomad_client,
    reason,
    signing_keys,
)
from sojourn.nomad_jobs.spec import SPEC_META

log = logging.getLogger(__name__)

_READ = 1 << 18
_TRIES = 3
#: What Nomad answers to a dispatch, with status 500 or 404, when the job is to be registered (again).
_UNDISPATCHABLE = re.compile(r"parameterized job not found|^\S* ?Specified job .* (is stopped|is not a parameterized job)")
_TOPICS = ("Allocation", "Evaluation")


class NomadError(Exception):
    """Nomad refused or did not answer; the text is its own reason. `is_refusal`: asking again will not help."""

    def __init__(self, text: str, *, is_refusal: bool = False):
        super().__init__(text)
        self.is_refusal = is_refusal


class NotThere(NomadError):
    """Nomad does not know it."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What there is, and Nomad's index at that moment: events from there on tell what came after."""

    rows: list[dict[str, Any]]
    index: int


class Client:
    """Of one cluster. `namespace` empty: that of the access. Safe to be used by several threads."""

    def __init__(self, access: NomadAccess, *, timeout: float = 10):
        self._access = access
        self._timeout = timeout
        # A session of requests is one thread's.
        self._local = threading.local()

    # --- jobs

    def register(self, job: Mapping[str, Any]) -> bool:
        """Registers a job unless it is there as it is given; whether it was registered now."""
        namespace = job.get("Namespace") or self._access.namespace
        try:
            known = self.job(job["ID"], namespace)
            if not known.get("Stop") and (known.get("Meta") or {}).get(SPEC_META) == job["Meta"][SPEC_META]:
                return False
        except NotThere:
            pass
        told = self._ask("post", "jobs", params={"namespace": namespace}, body={"Job": {**job, "Namespace": namespace}})
        if told.get("Warnings"):
            log.info("Nomad about %s: %s", job["ID"], " ".join(told["Warnings"].split()))
        return True

    def job(self, job: str, namespace: str = "") -> dict[str, Any]:
        """A job's document; `NotThere` for one that is unknown."""
        return dict(self._ask("get", _job(job), params=self._in(namespace)))

    def dispatch(self, job: str, executor: str, meta: Mapping[str, str], token: str, namespace: str = "") -> str:
        """Dispatches a child of a parameterized job; its id. The same token makes no second one.

        An answer that was lost is asked for again with the same token. `NotThere`: the job is not registered, was
        stopped, or is no parameterized one.
        """
        query = {**self._in(namespace), "idempotency_token": token}
        body = {"Meta": dict(meta), "IdPrefixTemplate": executor}
        for left in reversed(range(_TRIES)):
            try:
                return str(self._ask("post", f"{_job(job)}/dispatch", params=query, body=body)["DispatchedJobID"])
            except NomadError as error:
                if _UNDISPATCHABLE.search(str(error)):
                    raise NotThere(str(error), is_refusal=True) from None
                if error.is_refusal or not left:
                    raise
        raise AssertionError

    def deregister(self, job: str, namespace: str = "", *, purge: bool = False) -> None:
        """Stops a job and everything of it; `purge`: it is forgotten, too. One that is unknown is no error."""
        query = {**self._in(namespace), "purge": "true" if purge else "false"}
        try:
            self._ask("delete", _job(job), params=query)
        except NotThere:
            return

    def children(self, job: str, executor: str = "", namespace: str = "") -> list[dict[str, Any]]:
        """The dispatched children of a parameterized job, or those for one executor, as Nomad lists jobs."""
        prefix = f"{job}/dispatch-" + (f"{executor}-" if executor else "")
        return self._list("jobs", {**self._in(namespace), "prefix": prefix}).rows

    def parents(self, prefix: str, namespace: str = "") -> list[dict[str, Any]]:
        """The parameterized jobs whose ids begin so, with their meta, as Nomad lists jobs."""
        query = {**self._in(namespace), "prefix": prefix, "meta": "true", "filter": 'ParentID == ""'}
        return [job for job in self._list("jobs", query).rows if job.get("ParameterizedJob")]

    # --- what became of them

    def living_allocations(self, prefix: str, namespace: str = "") -> Listing:
        """The allocations that may run, or were lost, of every job whose id begins so.

        Those that are over are many: Nomad keeps them until it collects them.
        """
        ours = f"JobID matches {json.dumps('^' + _pattern(prefix))}"
        query = {**self._in(namespace), "filter": f'{ours} and ClientStatus != "complete" and ClientStatus != "failed"'}
        return self._list("allocations", query)

    def allocations(self, job: str, namespace: str = "") -> list[dict[str, Any]]:
        """Every allocation of a job, the newest first; none for one that is unknown."""
        rows = self._list(f"{_job(job)}/allocations", self._in(namespace)).rows
        return sorted(rows, key=lambda row: -int(row.get("CreateIndex") or 0))

    def evaluations(self, job: str, namespace: str = "") -> list[dict[str, Any]]:
        """A job's evaluations; `NotThere` is not said of one that is unknown."""
        return self._list(f"{_job(job)}/evaluations", self._in(namespace)).rows

    def events(self, index: int, silence: float, namespace: str = "") -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Payloads of events about allocations and evaluations after `index`, with the index that they bring.

        Ends after `silence` seconds without a word, and by `NomadError` when it breaks: list, and go on from there. Older
        events than Nomad keeps are not told of.
        """
        query: dict[str, Any] = {**self._in(namespace), "index": index, "topic": list(_TOPICS)}
        response = self._request(
            "get",
            "event/stream",
            params=query,
            stream=True,
            timeout=(self._timeout, silence),
            headers={"Accept-Encoding": "identity"},  # what is compressed is held back until there is enough of it
        )
        try:
            for line in _lines(response):
                frame = _frame(line)
                yield int(frame.get("Index") or 0), [each.get("Payload") or {} for each in frame.get("Events") or ()]
        except (TimeoutError, ReadTimeoutError):
            return
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            raise NomadError(f"the event stream broke: {reason(error)}") from None
        finally:
            response.close()
        raise NomadError("the event stream ended")

    def keys(self) -> list[dict[str, Any]]:
        """The public keys by which the cluster signs workload identities, as JWKs."""
        try:
            return signing_keys(nomad_client(self._access, timeout=self._timeout))
        except BaseNomadException as error:
            raise NomadError(reason(error)) from None

    # --- inside

    def _in(self, namespace: str) -> dict[str, str]:
        return {"namespace": namespace or self._access.namespace}

    def _list(self, path: str, query: Mapping[str, Any]) -> Listing:
        response = self._request("get", path, params=dict(query))
        return Listing(list(_json(response) or ()), int(response.headers.get("X-Nomad-Index") or 0))

    def _ask(self, method: str, path: str, *, body: Any = None, **more: Any) -> Any:
        return _json(self._request(method, path, json=body, **more))

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        requester = self._requester()
        try:
            endpoint = f"{requester.version}/{path}"
            given = {"timeout": self._timeout, **options}
            response: requests.Response = requester._request(method=method, endpoint=endpoint, **given)
            return response
        except URLNotFoundNomadException as error:
            raise NotThere(reason(error), is_refusal=True) from None
        except (BaseNomadException, requests.RequestException) as error:
            status = getattr(getattr(error, "nomad_resp", None), "status_code", 0)
            told = reason(error)
            raise NomadError(told, is_refusal=400 <= status < 500 or "not found" in told) from None

    def _requester(self) -> Any:
        if not hasattr(self._local, "requester"):
            self._local.requester = nomad_client(self._access, timeout=self._timeout).jobs
        return self._local.requester


def key_pairs(keys: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """JWKs as (id, JSON text); what has no id, or is no signing key, is left out."""
    return [(str(key["kid"]), json.dumps(dict(key))) for key in keys if key.get("kid") and key.get("use", "sig") == "sig"]


def _job(job: str) -> str:
    return f"job/{quote(job, safe='')}"


def _pattern(text: str) -> str:
    """A text for Nomad's regular expressions."""
    return "".join(char if char.isalnum() or char in "_/-" else f"\\{char}" for char in text)


def _lines(response: requests.Response) -> Iterator[bytes]:
    """Lines as they come. The stream has no chunks, so that requests itself would wait for its end."""
    rest = b""
    while data := response.raw.read1(_READ):
        *lines, rest = (rest + data).split(b"\n")
        yield from lines


def _frame(line: bytes) -> dict[str, Any]:
    frame = json.loads(line) if line.strip() else {}
    if not isinstance(frame, dict):
        raise ValueError("a frame that is no object")
    return frame


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise NomadError("Nomad's answer is no JSON") from None
