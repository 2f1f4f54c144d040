"""Messages to webhooks: written with the end, signed, sent to a real server, again where they did not arrive."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from sojourn import WebhookVerificationError
from sojourn.control_plane import faults
from sojourn.control_plane.api.models.webhooks import (
    DeliveriesReply,
    DeliveryReply,
    WebhookReply,
    WebhookSecretReply,
    WebhooksReply,
)
from sojourn.control_plane.domain import addresses
from sojourn.control_plane.domain.delivering import EVENTS
from sojourn.control_plane.engine import webhooks as cases
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler.courier import Courier
from sojourn.scheduler.posting import Poster
from tests.contract.api.conftest import Tenant
from tests.support.receiver import Receiver

PATH = "/api/v1/webhooks"
#: Here everything listens on loopback, which is refused elsewhere.
LOOPBACK = addresses.read("loopback")


@pytest.fixture(autouse=True)
def alone(platform: Platform) -> Iterator[None]:
    yield
    faults.switch_on("")
    platform.database.rows("DELETE FROM webhooks; DELETE FROM webhook_deliveries; DELETE FROM gone_webhooks")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def loopback_is_allowed(platform: Platform) -> None:
    platform.webhooks._allowed = addresses.read("public,private,loopback")


class Post:
    """A courier with its clock: it is driven until nothing more comes, each look a second after the last."""

    def __init__(self, platform: Platform, poster: Poster | None = None):
        self.platform = platform
        self.ahead = timedelta()
        self._rang = threading.Event()
        self.courier = Courier(platform.delivering, poster or Poster(LOOPBACK), self._rang.set)

    def look(self) -> dict[str, int]:
        return dict(self.courier.run_once(self.platform.clock() + self.ahead))

    def send(self) -> int:
        """Sends what is due and notes what came of it; how many messages that were."""
        sent = self.look()["sent"]
        self.go_on(lambda: self.courier.interval(self.platform.clock()) == 1.0)
        return sent

    def go_on(self, until: Callable[[], Any]) -> None:
        """Looks whenever something came back, until that is so."""
        deadline = time.monotonic() + 60
        while not until():
            assert time.monotonic() < deadline
            self.look()
            self._rang.wait(0.05)
            self._rang.clear()


@pytest.fixture
def post(platform: Platform) -> Post:
    return Post(platform)


def create(tenant: Tenant, url: str, **more: Any) -> dict[str, Any]:
    answer = tenant.client.simulate_post(PATH, json={"url": url, **more})
    assert answer.status_code == 200, answer.text
    WebhookSecretReply.model_validate(answer.json)
    return dict(answer.json)


def cancelled(tenant: Tenant, task: str = "hello", **options: Any) -> str:
    run = tenant.trigger(task, **options)
    assert tenant.client.simulate_post(f"/api/v2/runs/{run}/cancel").status_code == 200
    return run


def deliveries(tenant: Tenant, webhook: dict[str, Any], **query: str) -> list[dict[str, Any]]:
    answer = tenant.client.simulate_get(f"{PATH}/{webhook['id']}/deliveries", params={"perPage": "100", **query})
    assert answer.status_code == 200, answer.text
    DeliveriesReply.model_validate(answer.json)
    return list(answer.json["data"])


def retrieve(tenant: Tenant, webhook: dict[str, Any]) -> dict[str, Any]:
    answer = tenant.client.simulate_get(f"{PATH}/{webhook['id']}")
    assert answer.status_code == 200, answer.text
    WebhookReply.model_validate(answer.json)
    return dict(answer.json)


def statuses(tenant: Tenant, webhook: dict[str, Any]) -> list[str]:
    return [each["status"] for each in deliveries(tenant, webhook)]


# --- what is sent


def test_a_test_message_is_sent(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, f"{receiver.url}/hook")
    for _ in range(2):
        answer = tenant.client.simulate_post(f"{PATH}/{webhook['id']}/test")
        assert answer.status_code == 200, answer.text
        DeliveryReply.model_validate(answer.json)
        assert (answer.json["event"], answer.json["status"], "run" in answer.json) == ("webhook.test", "PENDING", False)
        post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])  # the newest alone is told
        message = receiver.received[-1].message(webhook["secret"])
        assert message["type"] == "webhook.test"
        assert message["data"]["webhook"] == {"id": webhook["id"]} and "run" not in message["data"]
        assert message["data"]["environment"]["id"] == tenant.environment
    assert len(receiver.received) == 2 and deliveries(tenant, webhook)[0]["id"] == answer.json["id"]
    tenant.client.simulate_post(f"{PATH}/{webhook['id']}/disable")
    refused = tenant.client.simulate_post(f"{PATH}/{webhook['id']}/test")
    assert (refused.status_code, refused.json["code"]) == (422, "WEBHOOK_INVALID")


def test_an_address_that_is_not_allowed_says_what_is(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = tenant.client.simulate_post(PATH, json={"url": "http://169.254.169.254/"})
    assert refused.status_code == 422 and "SOJOURN_WEBHOOK_NETWORKS lets messages go to " in refused.json["error"]
    assert "start the stack again" in refused.json["nextStep"]


def test_an_end_is_told(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, f"{receiver.url}/hook?from=sojourn")
    run = cancelled(tenant, tags=["b", "a"])
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])
    [got] = receiver.received
    assert got.path == "/hook?from=sojourn" and got.headers["content-type"] == "application/json"
    message = got.message(webhook["secret"])
    told = message["data"]["run"]
    assert message["type"] == "run.canceled" and message["timestamp"].endswith("Z")
    assert (told["id"], told["taskIdentifier"], told["status"]) == (run, "hello", "CANCELED")
    assert told["tags"] == ["a", "b"] and told["error"]["code"] == "TASK_RUN_CANCELLED"
    assert message["data"]["environment"]["id"] == tenant.environment
    assert not {"payload", "output", "metadata"} & set(told)
    [sent] = deliveries(tenant, webhook)
    assert (sent["id"], sent["run"], sent["event"], sent["attempts"], sent["responseStatus"]) == (
        got.id, run, "run.canceled", 1, 204,
    )  # fmt: skip


def test_only_what_was_asked_for_is_told(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    events = create(tenant, receiver.url, events=["run.failed", "run.expired"])
    tasks = create(tenant, receiver.url, tasks=["other"])
    everything = create(tenant, receiver.url)
    cancelled(tenant)
    cancelled(tenant, "other")
    tenant.trigger("hello", ttl=1)
    platform.expiring.expire(platform.clock() + timedelta(seconds=2), 100)
    told = {name: [each["event"] for each in deliveries(tenant, webhook)] for name, webhook in
            (("events", events), ("tasks", tasks), ("everything", everything))}  # fmt: skip
    assert told == {
        "events": ["run.expired"],
        "tasks": ["run.canceled"],
        "everything": ["run.expired", "run.canceled", "run.canceled"],
    }


def test_other_environments_ends_are_not_told(
    tenant: Tenant, sibling: Tenant, stranger: Tenant, receiver: Receiver
) -> None:
    webhook = create(tenant, receiver.url)
    cancelled(sibling)
    cancelled(stranger)
    assert deliveries(tenant, webhook) == []


def test_a_new_secret_and_the_one_before_are_both_good_for_a_day(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    rotated = tenant.client.simulate_post(f"{PATH}/{webhook['id']}/rotate-secret").json
    assert rotated["secret"] != webhook["secret"] and rotated["previousSecretUntil"]
    cancelled(tenant)
    post.go_on(lambda: receiver.received)
    for secret in (webhook["secret"], rotated["secret"]):
        assert receiver.received[0].message(secret)
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])
    post.ahead = timedelta(days=1, seconds=1)
    cancelled(tenant)
    post.go_on(lambda: len(receiver.received) == 2)
    got = receiver.received[1]
    now = int(got.headers["webhook-timestamp"])
    from sojourn import webhooks

    assert webhooks.verify(got.body, got.headers, rotated["secret"], now=now)
    with pytest.raises(WebhookVerificationError):
        webhooks.verify(got.body, got.headers, webhook["secret"], now=now)


def test_every_secret_of_a_day_is_good_whatever_came_after_it(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    path = f"{PATH}/{webhook['id']}/rotate-secret"
    secrets = [webhook["secret"], *(tenant.client.simulate_post(path).json["secret"] for _ in range(2))]
    cancelled(tenant)
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])
    assert len(set(secrets)) == 3
    for secret in secrets:
        assert receiver.received[0].message(secret)


def test_there_are_so_many_secrets_and_no_more(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    webhook = create(tenant, receiver.url)
    path = f"{PATH}/{webhook['id']}/rotate-secret"
    for _ in range(cases.MOST_SECRETS - 1):
        assert tenant.client.simulate_post(path).status_code == 200
    refused = tenant.client.simulate_post(path)
    assert (refused.status_code, refused.json["code"]) == (422, "WEBHOOK_INVALID")
    long_ago = "UPDATE webhooks SET previous_until = ARRAY(SELECT now() FROM unnest(previous_until))"
    platform.database.rows(long_ago)
    assert tenant.client.simulate_post(path).status_code == 200
    assert len(platform.database.rows("SELECT unnest(previous_sealed) FROM webhooks")) == 1


def test_a_request_that_is_sent_again_counts_once(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    """Its first answer was lost: whoever repeats it gets the secret that receivers may have from somebody else by now."""
    headers = {"x-trigger-request-idempotency-key": "the-same"}
    made = [tenant.client.simulate_post(PATH, json={"url": receiver.url}, headers=headers).json for _ in range(2)]
    assert made[0] == made[1]
    path = f"{PATH}/{made[0]['id']}/rotate-secret"
    rotated = [tenant.client.simulate_post(path, headers=headers).json for _ in range(2)]
    assert rotated[0] == rotated[1] and rotated[0]["secret"] != made[0]["secret"]
    other = tenant.client.simulate_post(path, headers={"x-trigger-request-idempotency-key": "another"}).json
    assert other["secret"] != rotated[0]["secret"]
    platform.database.rows(
        "UPDATE webhooks SET created_at = now() - interval '2 days', rotated_at = now() - interval '2 days'"
    )
    assert tenant.client.simulate_post(PATH, json={"url": receiver.url}, headers=headers).json["id"] != made[0]["id"]


def test_requests_at_once_with_one_key_make_one(tenant: Tenant, receiver: Receiver) -> None:
    headers = {"x-trigger-request-idempotency-key": "at-once"}
    with ThreadPoolExecutor(8) as pool:
        made = list(
            pool.map(
                lambda _: tenant.client.simulate_post(PATH, json={"url": receiver.url}, headers=headers).json, range(8)
            )
        )
    assert len({(each["id"], each["secret"]) for each in made}) == 1


# --- what does not arrive


def test_a_failure_is_tried_again_later_with_the_same_id(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    receiver.answers = lambda _: 500 if len(receiver.received) < 3 else 200
    cancelled(tenant)
    for _ in range(3):
        assert post.send() == 1
        assert post.send() == 0, "not before its time"
        post.ahead += timedelta(minutes=1)
    assert statuses(tenant, webhook) == ["DELIVERED"]
    assert len(receiver.received) == 3 and len({each.id for each in receiver.received}) == 1
    assert len({each.body for each in receiver.received}) == 1
    shown = retrieve(tenant, webhook)
    assert shown["failures"] == 0 and "failingSince" not in shown


def test_what_was_sent_and_not_noted_is_sent_again_with_the_same_id(
    platform: Platform, tenant: Tenant, receiver: Receiver, post: Post
) -> None:
    """As if the scheduler were killed between the two."""
    webhook = create(tenant, receiver.url)
    cancelled(tenant)
    dead = Post(platform)
    dead.look()
    [first] = receiver.wait_for(1)
    post.look()
    assert len(receiver.received) == 1, "it is the other one's still"
    post.ahead = timedelta(minutes=2)
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])
    assert [each.id for each in receiver.received] == [first.id, first.id]
    dead.send()
    [sent] = deliveries(tenant, webhook)
    assert (sent["status"], sent["attempts"]) == ("DELIVERED", 2)


def test_two_couriers_send_each_message_once(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    webhook = create(tenant, receiver.url)
    for _ in range(20):
        cancelled(tenant)
    both = [Post(platform), Post(platform)]
    threads = [
        threading.Thread(target=each.go_on, args=(lambda: statuses(tenant, webhook) == ["DELIVERED"] * 20,))
        for each in both
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(receiver.received) == 20 and len({each.id for each in receiver.received}) == 20


def test_three_days_in_vain_are_enough(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    receiver.answers = lambda _: 503
    cancelled(tenant)
    while statuses(tenant, webhook) == ["PENDING"]:
        assert post.send() == 1
        post.ahead += timedelta(hours=15)
    [sent] = deliveries(tenant, webhook)
    assert (sent["status"], sent["error"], sent["attempts"]) == ("FAILED", "it answered 503", 6)
    assert post.send() == 0
    assert "nextAttemptAt" not in sent


# --- one that fails and the others


def test_who_fails_for_a_day_is_disabled_and_says_why(
    platform: Platform, tenant: Tenant, receiver: Receiver, post: Post
) -> None:
    webhook = create(tenant, receiver.url)
    receiver.answers = lambda _: 500
    platform.database.rows("UPDATE webhooks SET failures = 19, failing_since = now() - interval '2 days'")
    cancelled(tenant)
    post.go_on(lambda: not retrieve(tenant, webhook)["enabled"])
    shown = retrieve(tenant, webhook)
    assert shown["disabledAt"] and "20 attempts in a row failed" in shown["disabledReason"]
    cancelled(tenant)
    assert len(deliveries(tenant, webhook)) == 1, "nothing is kept for one that is disabled"
    enabled = tenant.client.simulate_post(f"{PATH}/{webhook['id']}/enable").json
    assert enabled["enabled"] and enabled["failures"] == 0 and "disabledReason" not in enabled
    receiver.answers, post.ahead = lambda _: 200, timedelta(minutes=1)
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])


def test_who_is_gone_is_disabled_at_once(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    receiver.answers = lambda _: 410
    cancelled(tenant)
    post.go_on(lambda: not retrieve(tenant, webhook)["enabled"])
    assert retrieve(tenant, webhook)["disabledReason"] == "it answered 410 Gone"


def test_messages_of_a_disabled_webhook_are_given_up_in_the_end(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    cancelled(tenant)
    tenant.client.simulate_post(f"{PATH}/{webhook['id']}/disable")
    assert post.look()["sent"] == 0
    post.ahead = timedelta(days=3, minutes=1)
    assert post.look()["given_up"] == 1
    assert statuses(tenant, webhook) == ["FAILED"] and receiver.received == []


def test_a_message_is_sent_again_when_asked(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    cancelled(tenant)
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])
    message = receiver.received[0].id
    answer = tenant.client.simulate_post(f"{PATH}/{webhook['id']}/deliveries/{message}/redeliver")
    assert (answer.status_code, answer.json["status"]) == (200, "PENDING")
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])
    assert [each.id for each in receiver.received] == [message, message]


def test_nothing_is_sent_again_to_a_disabled_webhook(tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    cancelled(tenant)
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])
    again = f"{PATH}/{webhook['id']}/deliveries/{receiver.received[0].id}/redeliver"
    tenant.client.simulate_post(f"{PATH}/{webhook['id']}/disable")
    refused = tenant.client.simulate_post(again)
    assert (refused.status_code, refused.json["code"]) == (422, "WEBHOOK_INVALID")
    assert (refused.json["nextStep"], "disabled" in refused.json["error"]) == ("enable it first", True)
    assert statuses(tenant, webhook) == ["DELIVERED"]
    tenant.client.simulate_post(f"{PATH}/{webhook['id']}/enable")
    assert tenant.client.simulate_post(again).status_code == 200


def test_a_run_that_was_deleted_is_told_no_more(platform: Platform, tenant: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    run = cancelled(tenant)
    platform.database.rows("DELETE FROM runs WHERE id = %s", run)
    post.look()
    [sent] = deliveries(tenant, webhook)
    assert (sent["status"], sent["error"]) == ("FAILED", "the run was deleted meanwhile")
    assert receiver.received == []


# --- addresses


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/", "example.com", "http://", "http:///x", "https://user:pw@example.com/", "http://e.com/#f",
        "http://e.com:99999/", "http://[::1", "http://e.com/ x", "http://exämple.com/", "http://169.254.169.254/latest",
        "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/", "http://0.0.0.0/", "http://2130706433.1/",
        "http://e.com\\@f.com/",
    ],
)  # fmt: skip
def test_addresses_that_cannot_be_used(tenant: Tenant, url: str) -> None:
    answer = tenant.client.simulate_post(PATH, json={"url": url})
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (422, "WEBHOOK_INVALID", "url")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": None}, "url"),
        ({"url": "http://e.com/", "events": []}, "events"),
        ({"url": "http://e.com/", "events": ["run.started"]}, "events.0"),
        ({"url": "http://e.com/", "tasks": [""]}, "tasks.0"),
        ({"url": "http://e.com/", "secret": "mine"}, "secret"),
        ({"url": "http://e.com/\u0000"}, "url"),
        ({"url": "http://e.com/" + "x" * 3_000}, "url"),
    ],
)
def test_bodies_that_cannot_be_used(tenant: Tenant, body: dict[str, Any], field: str) -> None:
    answer = tenant.client.simulate_post(PATH, json=body)
    assert (answer.status_code, answer.json["code"], answer.json["field"]) == (400, "BODY_INVALID", field)


def test_loopback_is_refused_unless_it_is_allowed(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    """By the address itself when the webhook is made; by what a name resolves to when a message is sent."""
    allowed = addresses.read(platform.config.webhook_networks)
    platform.webhooks._allowed = allowed
    assert tenant.client.simulate_post(PATH, json={"url": receiver.url}).json["code"] == "WEBHOOK_INVALID"
    webhook = create(tenant, receiver.url.replace("127.0.0.1", "localhost"))
    cancelled(tenant)
    post = Post(platform, Poster(allowed))
    post.go_on(lambda: "error" in deliveries(tenant, webhook)[0])
    assert receiver.received == []
    assert "no address that is allowed" in deliveries(tenant, webhook)[0]["error"]


# --- what users do with them


def test_the_secret_is_shown_once_and_stored_sealed(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    webhook = create(tenant, receiver.url)
    assert webhook["secret"].startswith("whsec_")
    assert "secret" not in retrieve(tenant, webhook)
    listed = tenant.client.simulate_get(PATH)
    assert webhook["secret"] not in listed.text
    [row] = platform.database.rows("SELECT * FROM webhooks")
    assert webhook["secret"].removeprefix("whsec_") not in json.dumps(row, default=str)


def test_a_webhook_is_changed_listed_and_deleted(tenant: Tenant, receiver: Receiver) -> None:
    first = create(tenant, receiver.url, description="first", events=["run.failed", "run.failed"])
    second = create(tenant, receiver.url)
    assert first["events"] == ["run.failed"] and second["events"] == list(EVENTS)
    body = {"url": f"{receiver.url}/new", "tasks": ["hello"]}
    changed = tenant.client.simulate_put(f"{PATH}/{first['id']}", json=body).json
    assert (changed["url"], changed["tasks"], changed["events"]) == (body["url"], ["hello"], list(EVENTS))
    assert "description" not in changed
    page = tenant.client.simulate_get(PATH, params={"perPage": "1"}).json
    WebhooksReply.model_validate(page)
    assert [each["id"] for each in page["data"]] == [max(first["id"], second["id"])]
    assert page["pagination"] == {"currentPage": 1, "totalPages": 2, "count": 2}
    cancelled(tenant)
    assert tenant.client.simulate_delete(f"{PATH}/{first['id']}").json == {"id": first["id"]}
    assert tenant.client.simulate_get(f"{PATH}/{first['id']}").status_code == 404


def test_there_may_be_so_many_and_no_more(tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MOST", 2)
    for _ in range(2):
        create(tenant, receiver.url)
    answer = tenant.client.simulate_post(PATH, json={"url": receiver.url})
    assert (answer.status_code, answer.json["code"]) == (422, "WEBHOOK_INVALID")


def test_strangers_find_nothing(tenant: Tenant, stranger: Tenant, sibling: Tenant, receiver: Receiver, post: Post) -> None:
    webhook = create(tenant, receiver.url)
    cancelled(tenant)
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])
    message = receiver.received[0].id
    theirs = f"{PATH}/{webhook['id']}"
    calls = [
        ("GET", theirs), ("PUT", theirs), ("DELETE", theirs), ("POST", f"{theirs}/rotate-secret"),
        ("POST", f"{theirs}/enable"), ("POST", f"{theirs}/disable"), ("GET", f"{theirs}/deliveries"),
        ("POST", f"{theirs}/deliveries/{message}/redeliver"),
    ]  # fmt: skip
    for other in (stranger, sibling):
        for method, path in calls:
            body = {"json": {"url": "http://example.com/"}} if method == "PUT" else {}
            answer = other.client.simulate_request(method, path, **body)
            assert (answer.status_code, answer.json["code"]) == (404, "WEBHOOK_NOT_FOUND"), (method, path)
        own = create(other, receiver.url)
        answer = other.client.simulate_post(f"{PATH}/{own['id']}/deliveries/{message}/redeliver")
        assert (answer.status_code, answer.json["code"]) == (404, "DELIVERY_NOT_FOUND")
        assert other.client.simulate_get(PATH).json["pagination"]["count"] == 1
    assert retrieve(tenant, webhook)["enabled"]
