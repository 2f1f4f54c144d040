"""`sojourn.testing`: one clock for keys, tokens, dates and lists, which the test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sojourn import Queue, RetryAt, batch, context, queues, runs, task, testing, wait
from sojourn.sdk.errors import PastDateError

START = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def note(**options: Any) -> Any:
    @task(id="note", **options)
    def work(payload: Any) -> Any:
        return payload

    return work


# --- idempotency keys


@pytest.mark.parametrize(("options", "life"), [({"idempotency_key_ttl": "1h"}, HOUR), ({}, timedelta(days=30))])
def test_a_key_of_a_run_or_a_batch_holds_for_its_time(options: dict[str, Any], life: timedelta) -> None:
    work = note()
    with testing.Platform(now=START) as platform:

        def ask() -> tuple[str, str]:
            made = work.batch_trigger([1, 2], idempotency_key="b", **options)
            return work.trigger(1, idempotency_key="r", **options).id, made.id

        first = ask()
        platform.advance(to=START + life - timedelta(seconds=1))
        assert ask() == first
        platform.advance(seconds=1)
        later = ask()
        assert set(first).isdisjoint(later) and ask() == later


def test_a_key_of_a_token_holds_for_ever_unless_it_says_how_long() -> None:
    with testing.Platform(now=START) as platform:
        usual = wait.create_token(idempotency_key="a")
        short = wait.create_token(idempotency_key="b", idempotency_key_ttl="1h")
        platform.advance(days=365)
        assert wait.create_token(idempotency_key="a").id == usual.id
        assert wait.create_token(idempotency_key="b").id != short.id


def test_a_run_that_was_cancelled_keeps_its_key_and_one_that_failed_does_not() -> None:
    work = note(queue=Queue("mail"))

    @task(id="fails", retry={"max_attempts": 1})
    def fails() -> None:
        raise ValueError("no")

    with testing.Platform():
        queues.pause("mail")
        first = work.trigger(1, idempotency_key="c")
        runs.cancel(first.id)
        again = work.trigger(1, idempotency_key="c")
        assert (again.id, again.is_cached, again.retrieve().status) == (first.id, True, "CANCELED")
        assert fails.trigger(idempotency_key="c").id != fails.trigger(idempotency_key="c").id


# --- tokens


def test_a_tokens_time_is_over_as_time_passes() -> None:
    with testing.Platform(now=START) as platform:
        short, long = wait.create_token(timeout="1h"), wait.create_token(timeout=START + 3 * HOUR)
        platform.advance(hours=1)
        assert [wait.retrieve_token(each).status for each in (short, long)] == ["TIMED_OUT", "WAITING"]
        assert wait.retrieve_token(short).completed_at == START + HOUR
        wait.complete_token(short, "late")
        assert wait.retrieve_token(short).status == "TIMED_OUT", "the first end counts"
        assert platform.advance(days=1) == [] and wait.retrieve_token(long).completed_at == START + 3 * HOUR
        assert wait.retrieve_token(wait.create_token(timeout=START)).status == "TIMED_OUT"


def test_of_a_clock_that_nobody_set_a_tokens_time_is_over_after_that_time_exactly() -> None:
    with testing.Platform() as platform:
        token = wait.create_token(timeout="1h")
        platform.advance(minutes=59)
        assert wait.retrieve_token(token).status == "WAITING"
        platform.advance(minutes=1)
        assert wait.retrieve_token(token).status == "TIMED_OUT"
        past = wait.create_token(timeout=datetime.now(UTC) - timedelta(milliseconds=1))
        assert wait.retrieve_token(past).status == "TIMED_OUT"


def test_a_wait_compares_dates_and_tokens_by_that_clock() -> None:
    @task(id="either")
    def either() -> int:
        token = wait.create_token(timeout="1h")
        return wait.any(wait.token(token), wait.delay(minutes=5), wait.date(START + timedelta(minutes=3))).index

    with testing.Platform(now=START):
        assert either.trigger_and_wait().output == 2


def test_a_date_is_past_by_that_clock() -> None:
    @task(id="until", retry={"max_attempts": 1})
    def until() -> None:
        wait.until(START + HOUR, throw_if_in_the_past=True)

    with testing.Platform(now=START) as platform:
        first = platform.runs[until.trigger().id]
        assert first.waited == (wait.date(START + HOUR),)
        platform.advance(hours=2)
        assert platform.runs[until.trigger().id].error["name"] == PastDateError.__name__


def test_a_pause_until_a_date_is_counted_from_that_clock() -> None:
    @task(id="again", retry={"max_attempts": 2})
    def again() -> None:
        raise ValueError("no")

    again.catch_error(lambda error: RetryAt(START + HOUR))
    with testing.Platform(now=START):
        assert testing.run(again).delays == (3600.0,)


# --- dates


def test_runs_are_dated_by_that_clock() -> None:
    @task(id="dated", queue=Queue("mail"))
    def dated() -> list[str]:
        return [context.run.created_at.isoformat(), context.run.started_at.isoformat()]

    with testing.Platform(now=START) as platform:
        queues.pause("mail")
        handle, cancelled = dated.trigger(), dated.trigger()
        held = handle.retrieve()
        assert (held.created_at, held.started_at, held.finished_at) == (START, None, None)
        platform.advance(hours=1)
        cancelled.cancel()
        queues.resume("mail")
        run = handle.retrieve()
        assert (run.created_at, run.started_at, run.finished_at) == (START, START + HOUR, START + HOUR)
        assert run.output == [START.isoformat(), (START + HOUR).isoformat()]
        never = cancelled.retrieve()
        assert (never.created_at, never.started_at, never.finished_at) == (START, None, START + HOUR)
        assert list(runs.logs(cancelled.id)) == []


def test_a_list_of_a_period_goes_by_that_clock() -> None:
    work = note()
    with testing.Platform(now=START) as platform:
        old, old_token = work.trigger(1).id, wait.create_token().id
        platform.advance(days=2)
        new, new_token = work.trigger(2).id, wait.create_token().id
        assert [run.id for run in runs.list(period="1d")] == [new]
        assert [run.id for run in runs.list(created_to=START + HOUR)] == [old]
        assert [run.id for run in runs.list(created_from=START)] == [new, old]
        assert [each.id for each in wait.list_tokens(period="1d")] == [new_token]
        assert [each.id for each in wait.list_tokens(created_to=START + HOUR)] == [old_token]
        made = work.batch_trigger([1])
        assert made.retrieve().created_at == START + timedelta(days=2)


def test_of_a_clock_that_nobody_set_dates_are_real_and_never_go_back() -> None:
    work = note()
    with testing.Platform() as platform:
        before = datetime.now(UTC)
        first = work.trigger(1).retrieve()
        assert before <= first.created_at <= first.started_at <= first.finished_at <= datetime.now(UTC)
        begun = platform.now
        platform.advance(seconds=0)
        second = work.trigger(2).retrieve()
        assert first.finished_at <= second.created_at <= second.finished_at
        platform.advance(hours=1)
        assert platform.now == begun + HOUR
        assert work.trigger(3).retrieve().created_at == platform.now


# --- batches


def test_a_batch_is_shown_with_the_runs_that_are_asked_for() -> None:
    work = note()
    with testing.Platform() as platform:
        handle = work.batch_trigger([1, 2, 3])
        bare = handle.retrieve(runs=False)
        assert (bare.runs, bare.finished_count, bare.status) == ((), 3, "COMPLETED")
        assert len(handle.retrieve().runs) == 3
        client = platform.client()
        page = client.retrieve_batch(handle.id, {"limit": 2})
        rest = client.retrieve_batch(handle.id, {"limit": 2, "after": page["next"]})
        assert [*page["runs"], *rest["runs"]] == list(batch.retrieve(handle.id).runs) and "next" not in rest
