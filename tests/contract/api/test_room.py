"""An organization's queue never has more than its limit, whatever single triggers and batches come in which order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from falcon import testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.control_plane.engine.room import Room
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant

ROOM = 12
#: Trigger a run; make a batch of so many; send so many items to the nth batch of those that lack some.
_STEPS = st.one_of(
    st.just(("trigger", 0, 1)),
    st.tuples(st.just("make"), st.just(0), st.integers(1, 8)),
    st.tuples(st.just("fill"), st.integers(0, 3), st.integers(1, 8)),
)


@pytest.fixture
def room(platform: Platform, tenant: Tenant) -> Iterator[Room]:
    """Of the platform; every trigger looks for itself."""
    tenant.deploy(["hello"])
    room = platform.triggering.room
    patience, room._patience = room._patience, 0.0
    room._seen.clear()
    yield room
    room._patience, room.limit = patience, 0
    room._seen.clear()


class Story:
    """What should happen beside what does."""

    def __init__(self, platform: Platform, tenant: Tenant, room: Room):
        self.platform, self.tenant, self.room = platform, tenant, room
        #: Batches that lack items: how many they have, how many they are to have.
        self.open: dict[str, tuple[int, int]] = {}
        self.free = ROOM
        room.limit = self.taken() + ROOM

    def taken(self) -> int:
        organization = self.tenant.organization
        return self.platform.queue.size(organization) + self.platform.stored_batches.missing(organization)

    def play(self, what: str, which: int, n: int) -> None:
        if what == "trigger":
            self._answered(self.tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={}), 1)
        elif what == "make":
            answer = self.tenant.client.simulate_post("/api/v3/batches", json={"runCount": n})
            if self._answered(answer, n):
                self.open[answer.json["id"]] = (0, n)
        elif self.open:
            self._fill(sorted(self.open)[which % len(self.open)], n)
        assert self.taken() == self.room.limit - self.free

    def end(self) -> None:
        """All that was admitted comes in."""
        for batch in list(self.open):
            self._fill(batch, self.open[batch][1])
        organization = self.tenant.organization
        assert self.platform.stored_batches.missing(organization) == 0
        assert self.platform.queue.size(organization) == self.room.limit - self.free

    def _answered(self, answer: testing.Result, runs: int) -> bool:
        if self.free < runs:
            assert (answer.status_code, answer.json["code"]) == (422, "QUEUE_FULL")
            return False
        assert answer.status_code in (200, 202), answer.text
        self.free -= runs
        return True

    def _fill(self, batch: str, n: int) -> None:
        has, of = self.open.pop(batch)
        upto = min(has + n, of)
        body = "\n".join(json.dumps({"index": index, "task": "hello"}) for index in range(has, upto))
        path = f"/api/v3/batches/{batch}/items"
        answer = self.tenant.client.simulate_post(path, body=body, content_type="application/x-ndjson")
        assert (answer.status_code, answer.json["itemsAccepted"]) == (200, upto - has), answer.text
        if upto < of:
            self.open[batch] = (upto, of)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_STEPS, max_size=14))
def test_no_more_comes_in_than_there_is_room_for(
    platform: Platform, tenant: Tenant, room: Room, steps: list[tuple[str, int, int]]
) -> None:
    story = Story(platform, tenant, room)
    for step in steps:
        story.play(*step)
    story.end()


def test_a_batch_counts_for_the_triggers_that_follow_it_at_once(platform: Platform, tenant: Tenant, room: Room) -> None:
    """Also for those that go by what was seen before it."""
    room._patience = 3600.0
    room.limit = 10**9
    tenant.trigger()
    assert tenant.client.simulate_post("/api/v3/batches", json={"runCount": 5}).status_code == 202
    room.limit = platform.queue.size(tenant.organization) + platform.stored_batches.missing(tenant.organization)
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={})
    assert (answer.status_code, answer.json["code"]) == (422, "QUEUE_FULL")


def test_what_is_promised_to_others_takes_no_room(platform: Platform, tenant: Tenant, stranger: Tenant, room: Room) -> None:
    stranger.deploy(["hello"])
    assert stranger.client.simulate_post("/api/v3/batches", json={"runCount": 100}).status_code == 202
    room.limit = platform.queue.size(tenant.organization) + platform.stored_batches.missing(tenant.organization) + 1
    tenant.trigger()
    answer = tenant.client.simulate_post("/api/v1/tasks/hello/trigger", json={})
    assert (answer.status_code, answer.json["code"]) == (422, "QUEUE_FULL")


def test_a_process_looks_once_in_a_while_and_one_of_its_triggers_alone() -> None:
    looks, now = [], [0.0]

    class Counted:
        """A queue, and batches, of which is counted who asks; who asks is overtaken by another trigger."""

        def size(self, organization: str) -> int:
            looks.append(organization)
            if len(looks) == 2:
                assert not made.is_full("org")
            return 3

        def missing(self, organization: str) -> int:
            return 4

    counted: Any = Counted()
    made = Room(counted, counted, 8, patience=0.25, monotonic=lambda: now[0])
    assert [made.is_full("org") for _ in range(100)] == [False] * 100 and looks == ["org"]
    now[0] = 0.25
    assert not made.is_full("org") and len(looks) == 2
    made.promise("org", 1)
    assert made.is_full("org") and len(looks) == 2
    assert not made.is_full("another") and looks[-1] == "another"
