"""Whose message is sent next, and what becomes of those that wait: nobody stands in another's way, and nothing grows on."""

from __future__ import annotations

import threading
from base64 import b64encode
from datetime import timedelta
from typing import Any

import pytest

from sojourn.control_plane.domain.delivering import Answer
from sojourn.control_plane.engine import delivering
from sojourn.control_plane.engine.delivering import Parcel
from sojourn.control_plane.store.seal import Seal
from sojourn.control_plane.wiring import Platform
from sojourn.scheduler import courier
from sojourn.scheduler.posting import Poster
from tests.contract.api.conftest import Tenant
from tests.contract.api.test_webhooks import (
    LOOPBACK,
    PATH,
    Post,
    alone,
    cancelled,
    create,
    deliveries,
    loopback_is_allowed,
    post,
    receiver,
    retrieve,
    statuses,
)
from tests.support.receiver import Receiver

__all__ = ["alone", "loopback_is_allowed", "post", "receiver"]


def take(platform: Platform, most: int = 16, failing: int = 8, ahead: float = 0) -> list[Parcel]:
    return platform.delivering.take(platform.clock() + timedelta(seconds=ahead), most, failing)


def answer_all(platform: Platform, parcels: list[Parcel], answer: Answer) -> None:
    for parcel in parcels:
        platform.delivering.settle(parcel, answer, platform.clock())


def test_an_endpoint_that_hangs_delays_nobody_elses(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    """Twenty endpoints that never answer, with many messages each; one that does has its message at once."""
    hold = threading.Event()
    hanging = Receiver()
    hanging.answers = lambda _: (hold.wait(300), 200)[1]
    slow = [create(tenant, f"{hanging.url}/{n}") for n in range(20)]
    platform.database.rows("UPDATE webhooks SET failures = 1, failing_since = now()")
    for _ in range(3):
        cancelled(tenant)
    post = Post(platform, Poster(LOOPBACK, total=300))
    post.look()
    hanging.wait_for(6)
    good = create(tenant, receiver.url)
    cancelled(tenant)
    post.go_on(lambda: statuses(tenant, good) == ["DELIVERED"])
    assert len(hanging.received) == 6, "those that failed have half of its environment's places, one each"
    assert len({each.path for each in hanging.received}) == 6
    hold.set()
    platform.database.rows("DELETE FROM webhooks WHERE id = ANY(%s)", [each["id"] for each in slow])
    hanging.close()


def test_many_messages_to_one_do_not_stand_before_anothers(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    busy = create(tenant, f"{receiver.url}/busy", tasks=["busy"])
    for _ in range(30):
        cancelled(tenant, "busy")
    other = create(tenant, f"{receiver.url}/other", tasks=["hello"])
    cancelled(tenant)
    taken = platform.delivering.take(platform.clock(), 16, 8)
    assert [each.url for each in taken].count(f"{receiver.url}/busy") == 4
    assert [each.url for each in taken].count(f"{receiver.url}/other") == 1
    assert {"PENDING"} == set(statuses(tenant, busy)) == set(statuses(tenant, other))


def test_one_that_failed_once_has_its_turn_beside_others_that_hang(
    platform: Platform, tenant: Tenant, stranger: Tenant, receiver: Receiver
) -> None:
    """Theirs are older and never end; each place that is free is whose turn was the longest ago."""
    dead = [create(each, f"{receiver.url}/{n}") for each in (tenant, stranger) for n in range(4)]
    for _ in range(5):
        cancelled(tenant)
        cancelled(stranger)
    for _ in range(2):
        platform.database.rows("UPDATE webhooks SET failures = 1, failing_since = now()")
        hanging = take(platform)
        assert {each.taken.webhook_id for each in hanging} == {each["id"] for each in dead}
        answer_all(platform, hanging, Answer(error="it did not answer in time"))
        platform.database.rows("UPDATE webhook_deliveries SET due_at = created_at")
    other = create(tenant, f"{receiver.url}/other")
    platform.database.rows("UPDATE webhooks SET failures = 1, failing_since = now()")
    cancelled(tenant)
    [taken] = take(platform, failing=1)
    assert taken.taken.webhook_id == other["id"]


def test_slow_ones_of_one_environment_leave_places_to_others(
    platform: Platform, tenant: Tenant, stranger: Tenant, receiver: Receiver
) -> None:
    for n in range(8):
        create(tenant, f"{receiver.url}/slow/{n}")
    for _ in range(6):
        cancelled(tenant)
    first = take(platform)
    assert len(first) == delivering.WITHIN
    assert take(platform, most=4) == [], "that is all for one environment"
    other = create(stranger, f"{receiver.url}/other")
    cancelled(stranger)
    [taken] = take(platform, most=4)
    assert taken.taken.webhook_id == other["id"]
    answer_all(platform, first[:1], Answer(200))
    [next_one] = take(platform, most=4)
    counts = [each.taken.webhook_id for each in first[1:]].count(next_one.taken.webhook_id)
    assert counts <= 1, "whose turn it is has the fewest under way"


def test_with_few_places_left_one_webhook_has_no_more_than_its_own(
    platform: Platform, tenant: Tenant, receiver: Receiver
) -> None:
    create(tenant, receiver.url)
    for _ in range(8):
        cancelled(tenant)
    assert len(take(platform, most=3)) == 3
    assert len(take(platform, most=3)) == 1, "four are under way then"
    assert take(platform, most=3) == []


def test_another_master_key_spoils_no_message(
    platform: Platform, tenant: Tenant, receiver: Receiver, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = create(tenant, receiver.url)
    cancelled(tenant)
    with monkeypatch.context() as patched:
        patched.setattr(platform.delivering, "_seal", Seal(b64encode(bytes(32)).decode()))
        assert post.look()["sent"] == 0
    [waits] = deliveries(tenant, webhook)
    assert waits["status"] == "PENDING" and "master key" in waits["error"]
    assert retrieve(tenant, webhook)["failures"] == 0
    assert platform.database.rows("SELECT tries FROM webhook_deliveries") == [{"tries": 0}], "no pause grows by that"
    post.ahead = timedelta(minutes=1, seconds=1)
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"])


def test_what_is_asked_for_again_is_tried_as_a_new_one_is(
    platform: Platform, tenant: Tenant, receiver: Receiver, post: Post
) -> None:
    webhook = create(tenant, receiver.url)
    cancelled(tenant)
    platform.database.rows("UPDATE webhook_deliveries SET status = 'FAILED', attempts = 14, tries = 14")
    [message] = deliveries(tenant, webhook)
    tenant.client.simulate_post(f"{PATH}/{webhook['id']}/deliveries/{message['id']}/redeliver")
    receiver.answers = lambda _: 500 if len(receiver.received) == 1 else 204
    assert post.send() == 1
    post.ahead = timedelta(seconds=10)
    assert post.send() == 1, "after the first pause, not the fourteenth"
    [sent] = deliveries(tenant, webhook)
    assert (sent["status"], sent["attempts"]) == ("DELIVERED", 16)


def test_what_waits_is_sent_at_once_when_its_webhook_is_enabled(
    platform: Platform, tenant: Tenant, receiver: Receiver, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.control_plane.store.webhooks._AT_ONCE", 2)
    webhook = create(tenant, receiver.url)
    for _ in range(5):
        cancelled(tenant)
    tenant.client.simulate_post(f"{PATH}/{webhook['id']}/disable")
    platform.database.rows("UPDATE webhook_deliveries SET due_at = now() + interval '12 hours', tries = 12")
    tenant.client.simulate_post(f"{PATH}/{webhook['id']}/enable")
    post.go_on(lambda: statuses(tenant, webhook) == ["DELIVERED"] * 5)


def test_giving_up_goes_on_while_there_is_more(
    platform: Platform, tenant: Tenant, receiver: Receiver, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "GIVEN_UP_AT_ONCE", 2)
    monkeypatch.setattr(courier, "GIVEN_UP_AT_ONCE", 2)
    webhook = create(tenant, receiver.url)
    for _ in range(3):
        cancelled(tenant)
    tenant.client.simulate_post(f"{PATH}/{webhook['id']}/disable")
    post.ahead = timedelta(days=3, minutes=1)
    assert [post.look()["given_up"] for _ in range(3)] == [2, 1, 0]


def test_no_more_is_given_up_at_once_than_asked_however_it_is_planned(
    platform: Platform, tenant: Tenant, receiver: Receiver
) -> None:
    """A plan that looks for what is to be given up anew for each message would find others each time."""
    create(tenant, receiver.url)
    for _ in range(3):
        cancelled(tenant)
    late = platform.clock() + timedelta(days=3, minutes=1)
    for _ in range(2):
        with platform.database.transaction():
            for plan in ("hashagg", "sort", "material", "hashjoin", "mergejoin", "indexscan", "bitmapscan"):
                platform.database.rows(f"SELECT set_config('enable_{plan}', 'off', true)")
            given_up = platform.stored_webhooks.give_up(late, 2)
        left = platform.database.rows("SELECT count(*) AS n FROM webhook_deliveries WHERE status = 'PENDING'")
        assert (given_up, left[0]["n"]) in {(2, 1), (1, 0)}


def test_messages_of_a_deleted_webhook_go_bit_by_bit(platform: Platform, tenant: Tenant, receiver: Receiver) -> None:
    def left(of: dict[str, Any]) -> int:
        rows = platform.database.rows("SELECT count(*) AS n FROM webhook_deliveries WHERE webhook_id = %s", of["id"])
        return int(rows[0]["n"])

    gone, kept = create(tenant, receiver.url), create(tenant, receiver.url)
    for _ in range(3):
        cancelled(tenant)
    tenant.client.simulate_delete(f"{PATH}/{gone['id']}")
    now = platform.clock()
    assert all(each.taken.webhook_id == kept["id"] for each in take(platform))
    before = now - timedelta(hours=1)
    assert [platform.stored_webhooks.remove_told(before, 2) for _ in range(2)] == [2, 1]
    assert (left(gone), left(kept)) == (0, 3)
    late = "UPDATE webhook_deliveries SET webhook_id = %s WHERE id IN (SELECT id FROM webhook_deliveries LIMIT 1)"
    platform.database.rows(late, gone["id"])
    assert platform.stored_webhooks.remove_told(before, 2) == 1, "an end of that moment wrote it"
    platform.stored_webhooks.remove_told(now + timedelta(hours=1), 2)
    assert platform.database.rows("SELECT * FROM gone_webhooks") == []


def test_the_newest_messages_are_listed_and_counted(
    platform: Platform, tenant: Tenant, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sojourn.control_plane.store.webhooks.LISTED", 3)
    webhook = create(tenant, receiver.url)
    for _ in range(5):
        cancelled(tenant)
    pages = [
        tenant.client.simulate_get(f"{PATH}/{webhook['id']}/deliveries", params={"perPage": "2", "page": str(page)}).json
        for page in (1, 2, 3, 1_000)
    ]
    assert [len(page["data"]) for page in pages] == [2, 1, 0, 0]
    assert pages[0]["pagination"] == {"currentPage": 1, "totalPages": 2, "count": 3}
    assert len(deliveries(tenant, webhook, **{"filter[status]": "PENDING"})) == 3
    assert deliveries(tenant, webhook, **{"filter[status]": "FAILED"}) == []
