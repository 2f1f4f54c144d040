"""The client against a real agent, with the rights that Sojourn has at run time."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.support.stack import until

from sojourn.control_plane.embedded.nomad import NomadAgent
from sojourn.control_plane.nomad_access import NomadAccess
from sojourn.nomad_jobs import facts
from sojourn.nomad_jobs.client import Client, NomadError, NotThere, key_pairs
from sojourn.nomad_jobs.sites import Constraint, Site
from sojourn.nomad_jobs.spec import Terms, Unfit, job

#: The shim has nobody to talk to; these tests are about Nomad.
TERMS = Terms(api_url="http://127.0.0.1:9", kill_timeout=2, lease=60)
NOBODY = Site(python="/bin/true", constraints=(Constraint("${attr.kernel.name}", "plan9"),))


@pytest.fixture
def client(nomad_agent: NomadAgent) -> Client:
    return Client(nomad_agent.access)


@pytest.fixture
def parent(client: Client) -> Iterator[Callable[..., dict[str, Any]]]:
    """Registers a parameterized job of the test's own; it and its children are purged at the end."""
    made: list[str] = []

    def one(site: Site = NOBODY, environment: str = "", unfit: Unfit | None = None) -> dict[str, Any]:
        document = job(environment or f"env_{secrets.token_hex(4)}", "version_1", "micro", site, TERMS, unfit=unfit)
        client.register(document)
        made.append(document["ID"])
        return document

    yield one
    for name in made:
        for child in client.children(name):
            client.deregister(child["ID"], purge=True)
        client.deregister(name, purge=True)


def dispatch(client: Client, document: dict[str, Any], executor: str, snapshot: int) -> str:
    meta = {"executor": executor, "run": "run_1", "snapshot": str(snapshot)}
    return client.dispatch(document["ID"], executor, meta, f"{document['ID']}:{snapshot}")


def test_a_job_is_registered_when_it_is_missing_or_changed(client: Client, parent: Callable[..., Any]) -> None:
    document = parent(environment="env_same")
    before = client.job(document["ID"])["JobModifyIndex"]
    assert client.register(document) is False
    assert client.job(document["ID"])["JobModifyIndex"] == before
    assert client.register(job("env_same", "version_1", "micro", Site(python="/bin/false"), TERMS)) is True
    client.deregister(document["ID"])
    assert client.register(document) is True, "one that was stopped is there again"


def test_one_placement_makes_one_child_and_a_retry_another(client: Client, parent: Callable[..., Any]) -> None:
    document = parent()
    first = dispatch(client, document, "executor_1", 2)
    assert dispatch(client, document, "executor_1", 2) == first
    second = dispatch(client, document, "executor_2", 5)
    assert second != first
    assert {child["ID"] for child in client.children(document["ID"])} == {first, second}
    assert [child["ID"] for child in client.children(document["ID"], "executor_2")] == [second]
    client.deregister(first)
    assert dispatch(client, document, "executor_1", 2) == first, "the token outlives the child"


def test_dispatching_what_is_not_registered(client: Client) -> None:
    with pytest.raises(NotThere):
        client.dispatch("sojourn-nothing", "executor_1", {"executor": "executor_1"}, "t")
    client.deregister("sojourn-nothing", purge=True)
    with pytest.raises(NotThere):
        client.job("sojourn-nothing")


def test_dispatching_what_was_stopped(client: Client, parent: Callable[..., Any]) -> None:
    document = parent()
    client.deregister(document["ID"])
    with pytest.raises(NotThere, match="is stopped"):
        dispatch(client, document, "executor_1", 2)
    assert client.register(document) is True
    assert dispatch(client, document, "executor_1", 2)


def test_dispatching_what_is_no_parameterized_job(client: Client, parent: Callable[..., Any]) -> None:
    document = parent()
    child = dispatch(client, document, "executor_1", 2)
    with pytest.raises(NotThere, match="is not a parameterized job"):
        client.dispatch(child, "executor_2", {"executor": "executor_2"}, "t")


def test_meta_that_the_job_does_not_name_is_refused(client: Client, parent: Callable[..., Any]) -> None:
    document = parent()
    with pytest.raises(NomadError, match="secret"):
        client.dispatch(document["ID"], "executor_1", {"executor": "executor_1", "secret": "x"}, "t")


def test_a_placement_that_fails_is_told_by_events_and_by_listing(client: Client, parent: Callable[..., Any]) -> None:
    document = parent()
    index = client.living_allocations("sojourn-").index
    child = dispatch(client, document, "executor_1", 2)
    told = next(
        fact
        for _, payloads in client.events(index, silence=20)
        for payload in payloads
        if (fact := facts.of_event(payload)) is not None and isinstance(fact, facts.Unplaced) and fact.job == child
    )
    assert not told.is_full and "plan9" in told.reason
    listed = [fact for each in client.evaluations(child) if (fact := facts.unplaced(each)) is not None]
    assert told in listed
    client.deregister(child)
    until(lambda: client.job(child)["Status"] == "dead", 20, "it waits no longer")


def test_what_is_to_be_thawed_goes_to_no_node_of_another_type(client: Client, parent: Callable[..., Any]) -> None:
    anywhere = Site(python="/bin/true")
    child = dispatch(client, parent(anywhere), "executor_0", 1)
    here = until(lambda: client.allocations(child), 20, "it has a node")[0]["NodeID"]
    fits = parent(anywhere, unfit=Unfit("type-a", ("00000000-0000-0000-0000-000000000000",)))
    child = dispatch(client, fits, "executor_1", 2)
    assert until(lambda: client.allocations(child), 20, "it has a node")[0]["NodeID"] == here
    nowhere = parent(anywhere, unfit=Unfit("type-b", ("00000000-0000-0000-0000-000000000000", here)))
    child = dispatch(client, nowhere, "executor_2", 3)
    told = until(
        lambda: [each for each in map(facts.unplaced, client.evaluations(child)) if each], 20, "it waits for a node"
    )
    assert "node.unique.id" in told[0].reason and client.allocations(child) == []


def test_events_go_on_from_an_index(client: Client, parent: Callable[..., Any]) -> None:
    document = parent()
    child = dispatch(client, document, "executor_1", 2)
    until(lambda: client.evaluations(child), 20, "it was evaluated")
    first = client.job(child)["CreateIndex"]
    jobs = (
        payload["Evaluation"]["JobID"]
        for _, payloads in client.events(first, silence=20)
        for payload in payloads
        if "Evaluation" in payload
    )
    assert child in jobs


def test_keys(client: Client) -> None:
    pairs = key_pairs(client.keys())
    assert pairs and all(kid in text for kid, text in pairs)
    assert key_pairs([{"kty": "RSA"}, {"kid": "x", "use": "enc"}]) == []


def test_an_error_is_nomads_own_and_shows_no_token(nomad_agent: NomadAgent) -> None:
    access = nomad_agent.access
    wrong = Client(NomadAccess(access.address, token="5" * 8 + "-" + "5" * 27, namespace="sojourn"))
    with pytest.raises(NomadError) as caught:
        wrong.register(job("env_x", "v", "micro", NOBODY, TERMS))
    assert caught.value.is_refusal and "5555" not in str(caught.value)
    with pytest.raises(NomadError) as caught:
        Client(access).job("x", namespace="default")
    assert access.token not in str(caught.value) and "403" in str(caught.value)


def test_nobody_there() -> None:
    with socket.socket() as taken:  # by one that does not listen
        taken.bind(("127.0.0.1", 0))
        client = Client(NomadAccess(f"http://127.0.0.1:{taken.getsockname()[1]}", token="secret-token"))
        with pytest.raises(NomadError) as caught:
            client.dispatch("x", "executor_1", {}, "t")
        assert not caught.value.is_refusal and "secret-token" not in str(caught.value)
        with pytest.raises(NomadError):
            next(client.events(1, silence=1))


def test_a_lost_answer_is_asked_for_again_with_the_same_token(
    nomad_agent: NomadAgent, client: Client, parent: Callable[..., Any]
) -> None:
    """F57: between us and Nomad answers get lost, or become a 500; one child is made all the same."""
    document = parent()
    with losing(nomad_agent.access.address, ["lose", "500"]) as (address, asked):
        through = Client(NomadAccess(address, nomad_agent.access.token, nomad_agent.access.namespace), timeout=5)
        child = dispatch(through, document, "executor_1", 2)
    assert len(asked) == 3 and len(set(asked)) == 1, asked
    assert [each["ID"] for each in client.children(document["ID"])] == [child]


class losing:
    """A way to Nomad that carries calls out and then loses or spoils their answers, in this order; then it works."""

    def __init__(self, target: str, plan: list[str]):
        self._target, self._plan, self._asked = target, list(plan), []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    def __enter__(self) -> tuple[str, list[str]]:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}", self._asked

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        import requests

        way = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                return

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                way._asked.append(self.path)
                headers = {"X-Nomad-Token": self.headers["X-Nomad-Token"]}
                answer = requests.post(way._target + self.path, data=body, headers=headers, timeout=10)
                what = way._plan.pop(0) if way._plan else ""
                if what == "lose":
                    return
                self.send_response(500 if what == "500" else answer.status_code)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

        return Handler
