"""The SDK and the command line over the real application: finding runs, bulk actions, variables, versions; also awaited."""

from __future__ import annotations

import asyncio
import json
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sojourn.cli import confirming, profile
from sojourn.cli.main import main
from sojourn.control_plane.wiring import Platform
from sojourn.sdk import default_client as clients
from sojourn.sdk.aio import AsyncClient
from sojourn.sdk.bulk_actions import BulkActions
from sojourn.sdk.client import Client
from sojourn.sdk.envvars import EnvVar, EnvVars
from sojourn.sdk.errors import ApiConnectionError, BadRequestError, ConfigurationError, NotFoundError, RunTimeoutError
from sojourn.sdk.exchange import Request, Response
from sojourn.sdk.protocol import FINAL_STATUSES
from sojourn.sdk.registry import registry
from sojourn.sdk.run import Runs
from tests.contract.api.conftest import Tenant

Invoke = Callable[..., Any]


class Straight:
    """A transport right into the application. Each pause of a client lets the scheduler do a pass of its work."""

    def __init__(self, tenant: Tenant, platform: Platform):
        self.tenant = tenant
        self.platform = platform
        self.failures = 0

    def __call__(self, request: Request) -> Response:
        if self.failures:
            self.failures -= 1
            raise ApiConnectionError("gone")
        headers = {name: value for name, value in request.headers.items() if name != "Authorization"}
        path, _, query = request.path.partition("?")
        answer = self.tenant.client.simulate_request(
            request.method, path, query_string=query, body=request.body or b"", headers=headers
        )
        return Response(answer.status_code, answer.headers, answer.content)

    def sleep(self, _: object) -> None:
        self.platform.bulk_actions.work(self.platform.clock())


@pytest.fixture(scope="module")
def straight(tenant: Tenant, platform: Platform) -> Straight:
    tenant.deploy(["hello"])
    return Straight(tenant, platform)


@pytest.fixture(scope="module")
def client(straight: Straight) -> Client:
    return Client("http://api.test", straight.tenant.key, transport=straight, sleep=straight.sleep)


@pytest.fixture(autouse=True)
def none_left(platform: Platform) -> Iterator[None]:
    yield
    for table in ("bulk_action_runs", "bulk_actions", "environment_variables", "snapshots", "runs"):
        platform.database.rows(f"DELETE FROM {table}")


def test_runs_are_found(client: Client) -> None:
    made = [client.trigger("hello", options={"tags": ["x"], "test": True})["id"] for _ in range(2)]
    client.trigger("hello")
    runs = Runs(client)
    found = runs.list(tag=["x", "y"], is_test=True, queue="task/hello", period="1h")
    assert sorted(run.id for run in found) == sorted(made)
    assert len(list(runs.list(is_test=False, limit=5))) == 1
    with pytest.raises(TypeError, match="no filter 'tags': did you mean 'tag'"):
        runs.list(tags="x")  # type: ignore[call-arg]


def test_bulk_actions(client: Client) -> None:
    made = {client.trigger("hello", options={"tags": ["x"]})["id"] for _ in range(3)}
    runs, actions, seen = Runs(client), BulkActions(client), []
    begun = runs.bulk_cancel(tag="x", queue="task/hello", name="stop")
    assert (begun.type, begun.status, begun.name, begun.is_over) == ("CANCEL", "PENDING", "stop", False)
    over = actions.wait(begun, on_progress=seen.append)
    assert (over.status, over.total, over.succeeded, over.failed) == ("COMPLETED", 3, 3, 0)
    assert seen[-1] == over and pickle.loads(pickle.dumps(over)) == over
    assert {run.id for run in runs.list(bulk_action=over.id)} == made
    replayed = actions.wait(runs.bulk_replay(sorted(made)[:2]).id)
    assert (replayed.type, replayed.succeeded) == ("REPLAY", 2)
    assert actions.wait(runs.bulk_replay(tag="x", region="default", to_region="default")).succeeded == 5
    aborted = runs.bulk_cancel(everything=True)
    actions.abort(aborted)
    assert actions.retrieve(aborted).status == "ABORTED"
    assert [each.id for each in actions.list(limit=4)][2:] == [replayed.id, over.id]
    for given in ({}, {"run_ids": ["run_1"], "tag": "x"}, {"everything": True, "tag": "x"}):
        with pytest.raises(ConfigurationError, match="which runs"):
            runs.bulk_cancel(**given)


def test_variables(client: Client, tmp_path: Path) -> None:
    variables = EnvVars(client)
    variables.create("A", "1")
    variables.create("B", "2", secret=True)
    assert variables.list() == [EnvVar("A", "1"), EnvVar("B", "<redacted>", True)]
    variables.update("A", "11")
    (tmp_path / ".env").write_text("A=file\nC='c d'\n")
    variables.upload(tmp_path / ".env")
    variables.upload({"D": "d"}, override=True, secret=True)
    assert [(each.name, each.value) for each in variables.list() if not each.is_secret] == [("A", "11"), ("C", "c d")]
    variables.upload(str(tmp_path / ".env"), override=True)
    assert variables.retrieve("A").value == "file"
    variables.delete("A")
    with pytest.raises(NotFoundError):
        variables.retrieve("A")
    with pytest.raises(BadRequestError, match="reserved"):
        variables.create("PATH", "/")
    with pytest.raises(NotFoundError, match="Project not found"):
        EnvVars(client, environment="prod").list()


def test_what_happened_in_a_run(client: Client) -> None:
    run = client.trigger("hello")["id"]
    runs = Runs(client)
    (event,) = runs.events(run)
    assert runs.trace(run)["rootSpan"]["id"] == event["spanId"] == client.span(run, event["spanId"])["spanId"]


@pytest.fixture(autouse=True)
def registry_as_it_was() -> Iterator[None]:
    """Tasks of guides are no other test's."""
    before = dict(registry.tasks)
    yield
    for name in registry.tasks.keys() - before.keys():
        del registry.tasks[name]


def code(page: str) -> str:
    """A guide's Python blocks."""
    text = (Path(__file__).resolve().parents[3] / "docs" / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def test_the_guide_to_runs(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    client.trigger("import-file", options={"tags": ["customer-7"]})
    before = clients.use(client)
    guide: dict[str, Any] = {}
    exec(code("runs.md"), guide)
    clients.use(before)
    assert capsys.readouterr().out == "1 cancelled\n"
    assert BulkActions(client).retrieve(guide["again"].id).status == "ABORTED"
    assert asyncio.iscoroutinefunction(guide["cancel_old"])


def test_the_guide_to_variables(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    before = clients.use(client)
    guide: dict[str, Any] = {}
    exec(code("environment-variables.md"), guide)
    guide["set_up"]()
    clients.use(before)
    assert capsys.readouterr().out == "A 1\nB 2\nDATABASE_PASSWORD <redacted>\n"


# --- awaited


def test_the_same_awaited(straight: Straight) -> None:
    async def work() -> None:
        key = straight.tenant.key
        async with AsyncClient("http://api.test", key, transport=straight, sleep=straight.sleep) as client:
            handle = await client.tasks.trigger("hello", {"n": 1}, tags=["x"])
            found = await client.runs.retrieve(handle.id)
            assert (found.payload, found.tags) == ({"n": 1}, ("x",))
            handles = [client.tasks.trigger("hello", n) for n in range(120)]
            made = {each.id for each in await asyncio.gather(*handles)}
            assert {run.id async for run in client.runs.list(task="hello")} == made | {handle.id}
            assert len([run async for run in client.runs.list(limit=101)]) == 101
            begun = await client.runs.bulk_cancel(everything=True)
            over = await client.bulk_actions.wait(begun, on_progress=straight.sleep)
            assert over.succeeded == 121
            result = await client.runs.result(handle)
            assert not result.ok
            assert [each.id async for each in client.bulk_actions.list()] == [over.id]
            await client.envvars.create("A", "1")
            assert await client.envvars.list() == [EnvVar("A", "1")]
            await client.envvars.delete("A")
            assert [each.name async for each in client.queues.list()] == ["task/hello"]
            assert (await client.queues.pause("task/hello")).paused
            assert not (await client.queues.resume("task/hello")).paused
            schedule = await client.schedules.create("hello", "0 9 * * *", deduplication_key="a")
            assert [each async for each in client.schedules.list()] == [schedule]
            await client.schedules.delete(schedule)
            token = await client.tokens.create(timeout="1h")
            await client.tokens.complete(token, {"ok": True})
            assert (await client.tokens.retrieve(token)).output == {"ok": True}
            batch = await client.batches.trigger([("hello", 1), ("hello", 2)])
            assert (await client.batches.retrieve(batch.id)).run_count == 2
            assert (await client.request("GET", "/api/v1/deployments/current"))["status"] == "DEPLOYED"
            with pytest.raises(NotFoundError):
                await client.runs.retrieve("run_" + "0" * 26)

    asyncio.run(work())


def test_awaited_calls_are_sent_again_as_others_are(straight: Straight) -> None:
    async def work() -> None:
        async with AsyncClient("http://api.test", "tr_dev_x", transport=straight, sleep=lambda _: None) as client:
            straight.failures = 2
            assert (await client.tasks.trigger("hello")).id

    asyncio.run(work())
    assert straight.failures == 0


def test_an_awaited_result_has_an_end(straight: Straight) -> None:
    async def work() -> None:
        async with AsyncClient("http://api.test", "tr_dev_x", transport=straight) as client:
            handle = await client.tasks.trigger("hello")
            with pytest.raises(RunTimeoutError):
                await client.runs.result(handle, timeout=0)

    asyncio.run(work())


def test_waiting_for_a_bulk_action_can_be_given_up(straight: Straight) -> None:
    async def work() -> None:
        looked = asyncio.Event()
        async with AsyncClient("http://api.test", "tr_dev_x", transport=straight, sleep=lambda _: None) as client:
            begun = await client.runs.bulk_cancel(everything=True)
            assert (await client.bulk_actions.wait(begun, timeout=0)).status == "PENDING"
            waiting = asyncio.ensure_future(client.bulk_actions.wait(begun, on_progress=lambda _: looked.set()))
            await asyncio.wait_for(looked.wait(), 20)
            waiting.cancel()
            await asyncio.wait_for(client.close(), 20)
            assert waiting.cancelled()

    asyncio.run(work())


def test_what_was_begun_is_known_though_the_next_call_fails(
    client: Client, straight: Straight, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> None:
        raise ApiConnectionError("gone")

    monkeypatch.setattr(client, "retrieve_bulk_action", gone)
    begun = Runs(client).bulk_replay(["run_" + "0" * 26], name="again")
    assert (begun.name, begun.type, begun.status, begun.total) == ("again", "REPLAY", "PENDING", 1)


def test_the_loop_goes_on_while_a_call_is_under_way() -> None:
    async def work() -> None:
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()
        answer = asyncio.Event()

        def slow(request: Request) -> Response:
            loop.call_soon_threadsafe(arrived.set)
            asyncio.run_coroutine_threadsafe(answer.wait(), loop).result(20)
            return Response(200, {}, b'{"id": "run_1", "isCached": false}')

        async with AsyncClient("http://api.test", "tr_dev_x", transport=slow) as client:
            calls = [asyncio.ensure_future(client.tasks.trigger("hello")) for _ in range(3)]
            await asyncio.wait_for(arrived.wait(), 20)
            answer.set()
            assert [each.id for each in await asyncio.gather(*calls)] == ["run_1"] * 3

    asyncio.run(work())


# --- the command line


@pytest.fixture
def invoke(client: Client, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setattr(profile, "client", lambda environment, data_dir: client)

    def run(*words: str, code: int = 0, stdin: str | None = None) -> str:
        done = CliRunner().invoke(main, list(words), input=stdin)
        assert done.exit_code == code, done.output
        return done.output

    return run


def test_many_runs_on_the_command_line(invoke: Invoke, client: Client) -> None:
    made = [client.trigger("hello", options={"tags": ["x"]})["id"] for _ in range(3)]
    page = json.loads(invoke("runs", "list", "--tag", "x", "--limit", "2", "--json"))
    following = page["pagination"]["next"]
    assert following in invoke("runs", "list", "--tag", "x", "--limit", "2")
    rest = json.loads(invoke("runs", "list", "--tag", "x", "--limit", "2", "--after", following, "--json"))
    assert sorted(each["id"] for each in page["data"] + rest["data"]) == sorted(made)
    over = json.loads(invoke("runs", "cancel", "--tag", "x", "--name", "stop", "--json", "--yes"))
    assert (over["status"], over["name"], over["counts"]["success"]) == ("COMPLETED", "stop", 3)
    assert "2 of 2 done" in invoke("runs", "replay", *made[:2])
    begun = invoke("runs", "replay", "--tag", "x", "--test", "false", "--detach", "--yes").strip()
    assert "PENDING" in invoke("bulk", "get", begun)
    assert "ABORTED" in invoke("bulk", "abort", begun)
    assert begun in json.loads(invoke("bulk", "list", "--json"))["data"][0]["id"] and "ABORTED" in invoke("bulk", "list")
    assert "COMPLETED" in invoke("runs", "cancel", "--all", "--yes")
    assert "which runs?" in invoke("runs", "cancel", code=2)
    for words in (("cancel", "--tag", ""), ("replay", "--queue", ","), ("cancel", "--from", ""), ("list", "--tag", "")):
        assert "has no value" in invoke("runs", *words, code=2)
    assert "is CANCELED" in invoke("runs", "cancel", made[0])
    assert invoke("runs", "replay", made[0]).startswith("run_")
    assert "no such bulk action" in invoke("bulk", "get", "bulk_x", code=4)


def test_variables_on_the_command_line(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("env", "set", "A", "1") == "A is set\n"
    assert invoke("env", "set", "B", "--secret", stdin="two\n") == "B is set\n"
    assert invoke("env", "get", "A") == "1\n"
    assert "<redacted>" in invoke("env", "list") and "two" not in invoke("env", "list")
    (tmp_path / "vars").write_text("A=2\nC=3\n")
    told = invoke("env", "import", str(tmp_path / "vars"))
    assert told.endswith("vars: 1 new, 0 changed, 1 left as they were (A): --override changes them\n")
    assert invoke("env", "import", str(tmp_path / "vars"), "--override").endswith("vars: 0 new, 2 changed\n")
    assert [each["value"] for each in json.loads(invoke("env", "list", "--json"))] == ["2", "<redacted>", "3"]
    (tmp_path / "flawed").write_text("C=3\n\nC: 4\n# a comment\nC\n")
    told = invoke("env", "import", str(tmp_path / "flawed"), "--override")
    assert told.endswith("flawed: 0 new, 1 changed, 2 without NAME=VALUE left out (line 3, 5)\n")
    assert invoke("env", "unset", "A") == "A is not set any more\n"
    assert "no such variable" in invoke("env", "get", "A", code=4)
    assert "reserved" in invoke("env", "set", "PATH", "/", code=3)
    assert "cannot be read" in invoke("env", "import", str(tmp_path / "nothing"), code=2)


def test_versions_on_the_command_line(invoke: Invoke, tenant: Tenant) -> None:
    older = json.loads(invoke("deployments", "list", "--json"))["data"][0]["version"]
    newer = tenant.deploy(["hello"], "newer")["version"]
    first, second = invoke("deployments", "list").splitlines()[1:3]
    assert first.split()[:2] == [newer, "current"] and second.split()[0] == older and "current" not in second
    refused = invoke("deployments", "promote", older, code=3)
    assert "older" in refused and "add --rollback" in refused and "allowRollbacks" not in refused
    assert invoke("deployments", "promote", older, "--rollback") == f"{older} is current\n"
    marks = {each["version"]: each["isCurrent"] for each in json.loads(invoke("deployments", "list", "--json"))["data"]}
    assert [version for version, is_current in marks.items() if is_current] == [older]
    assert json.loads(invoke("deployments", "promote", newer, "--json"))["version"] == newer


def test_runs_that_are_not_named_are_asked_about(invoke: Invoke, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    run, over = (client.trigger("hello", options={"tags": ["asked"]})["id"] for _ in range(2))
    client.cancel(over)
    for words in (("cancel", "--tag", "asked"), ("replay", "--tag", "asked"), ("cancel", "--all", "--json")):
        assert "this is no terminal: add --yes" in invoke("runs", *words, code=2)
    monkeypatch.setattr(confirming, "_is_terminal", lambda: True)
    assert "cancel 1 run of dev, and all" in (told := invoke("runs", "cancel", "--tag", "asked", stdin="n\n", code=2))
    assert "nothing was done" in told and client.retrieve(run)["status"] not in FINAL_STATUSES
    assert "replay 2 runs of dev" in invoke("runs", "replay", "--tag", "asked", stdin="\n", code=2)
    invoke("runs", "cancel", "--tag", "asked", stdin="y\n")
    assert client.retrieve(run)["status"] == "CANCELED"
    assert len(client.list_runs({"filter[tag]": "asked"})["data"]) == 2
    assert "this is no terminal" not in invoke("runs", "cancel", run, "--all", "--yes", code=2), "one of the two"
    invoke("runs", "cancel", run, over)  # what is named is not asked about


def test_statuses_on_the_command_line(invoke: Invoke, client: Client) -> None:
    run = client.trigger("hello", options={"tags": ["spelled"]})["id"]
    client.cancel(run)
    for words in ("cancelled", "canceled, failed"):
        assert run in invoke("runs", "list", "--tag", "spelled", "--status", words)
    refused = invoke("runs", "list", "--status", "broken", code=3)
    assert "'BROKEN' is no status: there are" in refused and "TIMED_OUT" in refused and "details" not in refused
    assert "timed_out" in invoke("runs", "list", "--help")
    empty = invoke("runs", "list", "--tag", "nobody has this")
    assert empty == "no run fits\n"


def test_refusals_speak_of_what_is_typed(invoke: Invoke) -> None:
    scope = invoke("keys", "create", "--scope", "reed:runs", code=3)
    assert scope.startswith("sojourn: --scope: 'reed:runs' is no scope: that is admin") and "--help" in scope
    assert "sessions" not in scope and "Value error" not in scope
    for reset in (["limit", "--reset"], ["rate", "--reset"]):
        assert "task/hello" in invoke("queues", reset[0], "task/hello", reset[1]), "there is nothing to reset"
    assert "task/<task>" in invoke("queues", "get", "nowhere", code=4)
    assert "check the id, and --env" in invoke("runs", "get", "run_x", code=4)
