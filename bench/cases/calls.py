"""What it costs to know who calls and what they may do: of a key, a restricted key, a public token; and a run's own one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from time import perf_counter

from bench.measure import row, stack
from sojourn.control_plane import wiring
from sojourn.control_plane.api.auth import Caller, Gate
from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.guard import Guard
from sojourn.control_plane.api.public_tokens import HandleTokens
from sojourn.control_plane.api.routes import ROUTES
from sojourn.control_plane.config import load
from sojourn.control_plane.domain import allowance
from sojourn.control_plane.embedded.credentials import master_key
from sojourn.control_plane.wiring import Platform

_CALLS = 20_000
_ROUTE = next(route for route in ROUTES if route.action == "runs.retrieve")


def main() -> None:
    """One row each, in µs of one process, but for what is looked up every 5 s."""
    with stack() as made:
        settings = load(
            {},
            database_url=made.database_url,
            redis_url=f"unix://{made.data_dir}/run/redis.sock",
            data_dir=str(made.data_dir),
            master_key=master_key(made.data_dir),
        )
        platform = wiring.connect(settings, application="bench")
        try:
            measure(platform)
        finally:
            platform.close()


def measure(platform: Platform) -> None:
    """The gate, the limit and the scopes, as each request passes them."""
    now = platform.clock()
    installation = platform.access.installation(now)
    assert installation
    environment = platform.access.environment(installation.environments["dev"], now)
    assert environment
    run = "run_" + "0" * 26
    scopes = [f"read:runs:{run}"]
    gate = Gate(platform.access, platform.public_tokens, platform.credentials, platform.identities)
    opens = gate.opens(Caller.ENVIRONMENT)
    assert opens
    shown = {
        "a root key": installation.keys["dev"],
        "a key with scopes": platform.keys.create(environment, now, granted=scopes).secret,
        "a public token": platform.public_tokens.mint(environment, scopes, timedelta(hours=1), now),
    }
    for limits, rate in (("no limit", "off"), ("a large limit", "1000000:1000000/1"), ("a small limit", "499:99999/1")):
        allowed = allowance.read(rate)
        guard = Guard(platform.call_buckets, allowed, allowed, platform.public_tokens, platform.runs.find)
        for name, secret in shown.items():
            header, path = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}, {"run": run}

            def enter(header: dict[str, str] = header, path: dict[str, str] = path, guard: Guard = guard) -> None:
                visitor = opens(header, now, path)
                guard.count(visitor, now)
                guard.check(_ROUTE, Call(visitor.environment, now, None, None, header, visitor), path, body=False)

            row(f"{name}, {limits}", us=_microseconds(enter))
    handles, call = HandleTokens(platform.public_tokens), Call(environment, now, None, None, {})
    row("the token that comes with a run", us=_microseconds(lambda: handles.of_run(call, run, found=False)))


def _microseconds(call: Callable[[], object]) -> float:
    begun = perf_counter()
    for _ in range(_CALLS):
        call()
    return (perf_counter() - begun) / _CALLS * 1e6
