"""What a type checker makes of code that waits, in `def` and in `async def`."""

from __future__ import annotations

from pathlib import Path

from mypy import api

CODE = """
import asyncio

from sojourn import BatchHandle, ScheduledPayload, TaskResult, Token, TokenResult, batch, schedules, task, wait


@task
def child(payload: int) -> int:
    return payload


@task
def in_def() -> None:
    result: TaskResult = child.trigger_and_wait(1)
    wait.for_(seconds=1)
    token: Token = wait.create_token()
    told: TokenResult = wait.for_token(token)
    print([each.unwrap() for each in child.batch_trigger_and_wait([1])], result.ok, told.ok)
    many: BatchHandle = child.batch_trigger([1, (2, {"tags": ["x"]})])
    print(many.retrieve().status, [each.ok for each in batch.results(many.id)])
    first = wait.any(wait.delay(days=1), wait.token(token), wait.run(child.trigger(1)))
    index: int = first.index
    for state in wait.list_tokens(limit=index):
        print(state.status, len(wait.all(wait.delay(days=1))))
    made = schedules.create(child, "0 6 * * *", deduplication_key="a")
    print(made.cron, [each.task for each in schedules.list()], schedules.timezones()[0])
    schedules.delete(made)


@task(schedule="0 6 * * *")
def scheduled(payload: ScheduledPayload) -> str:
    return payload["timestamp"].isoformat()


@task
async def in_async_def() -> None:
    token: Token = await wait.create_token()
    result, _, told = await asyncio.gather(child.trigger_and_wait(1), wait.for_(seconds=1), wait.for_token(token))
    one: TaskResult = result
    two: TokenResult = told
    await wait.until("2030-01-01T00:00:00Z")
    print(one.ok, two.ok, [each.unwrap() for each in await child.batch_trigger_and_wait([1])])
    many: BatchHandle = await batch.trigger([(child, 1), ("other", 2)])
    print((await many.retrieve()).status, [each.ok for each in await many.results()])
    first = await wait.any(wait.delay(days=1))
    index: int = first.index
    async for state in wait.list_tokens(limit=index):
        print(state.status, len(await wait.all(wait.delay(days=1))))
    made = await schedules.create("child", "0 6 * * *", deduplication_key="a")
    print(made.cron, [each.task async for each in schedules.list()], (await schedules.timezones())[0])
    await schedules.delete(made)
    again: TaskResult = await child.trigger(1).result()
    print(again.ok)
"""


def test_both_kinds_of_code_are_typed(tmp_path: Path) -> None:
    file = tmp_path / "waiting_code.py"
    file.write_text(CODE)
    told, errors, _ = api.run(
        ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path}", str(file)]
    )
    ours = [line for line in told.splitlines() if "waiting_code.py" in line]
    assert (ours, errors) == ([], "")
