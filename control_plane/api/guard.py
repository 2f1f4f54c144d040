"""THE place where a caller's calls are counted, its scopes are held against what a route needs, and tokens are used up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sojourn.control_plane.api import needs
from sojourn.control_plane.api.call import Call
from sojourn.control_plane.api.needs import Asked
from sojourn.control_plane.api.problems import Problem, limit_headers, of_engine, too_many
from sojourn.control_plane.api.routes import Route
from sojourn.control_plane.api.tasks import request_key
from sojourn.control_plane.api.visitor import Visitor, forbidden, needs_scope
from sojourn.control_plane.domain.allowance import Allowance
from sojourn.control_plane.engine.errors import EngineError, PublicTokenSpent
from sojourn.control_plane.engine.public_tokens import PublicToken, PublicTokens
from sojourn.control_plane.queue.call_buckets import CallBuckets
from sojourn.control_plane.store.records import Run

#: The route by which a batch that a token made is given its items.
_ITEMS = "batches.fill"


class Guard:
    """`for_keys`, `for_tokens`: what an environment's keys, and each public token, may call; None is no limit."""

    def __init__(
        self,
        buckets: CallBuckets,
        for_keys: Allowance | None,
        for_tokens: Allowance | None,
        tokens: PublicTokens,
        find_run: Callable[[str, str], Run | None],
    ):
        self._buckets = buckets
        self._for_keys = for_keys
        self._for_tokens = for_tokens
        self._tokens = tokens
        self._find_run = find_run

    def count(self, visitor: Visitor, now: datetime) -> dict[str, str]:
        """Counts a call: the headers of its answer. `Problem` 429 for one too many."""
        allowance = self._for_keys if visitor.token is None else self._for_tokens
        taken = self._buckets.take(visitor.bucket, allowance) if allowance is not None else None
        if allowance is None or taken is None:
            return {}
        reset = int(now.timestamp() * 1000) + taken.wait_ms
        headers = limit_headers(allowance.capacity, taken.remaining, reset)
        if not taken.allowed:
            detail = f"More than {allowance.capacity} calls at once, or {allowance.refill} in {allowance.seconds} s."
            raise too_many("RATE_LIMITED", detail, headers, taken.wait_ms)
        return headers

    def check(self, route: Route, call: Call, path: Mapping[str, str], *, body: bool) -> None:
        """`Problem` 403 unless the caller's scopes grant what the route needs. `body`: it is there by now."""
        visitor, need = call.visitor, route.needs or needs.EVERYTHING
        if visitor is None or visitor.scopes is None or need.reads_body is not body:
            return
        if visitor.token is not None and not need.tokens:
            raise forbidden("use a secret key: public tokens are not taken here")
        environment = visitor.environment
        call.find_run = lambda run: self._find_run(environment.id, run)
        asked = Asked(need.action, path, call.query, call.body, visitor.scopes, call.find_run)
        if not need.allows(asked, lambda resource: visitor.may(need.action, resource)):
            raise needs_scope(need.scope)

    def act(self, route: Route, call: Call, path: Mapping[str, str], action: Callable[..., Any]) -> Any:
        """What the route's action answers. A token that works once is used up by it, unless it is refused."""
        token = call.visitor.token if call.visitor else None
        if token is None or not token.once:
            return action(call, **path)
        if route.action == _ITEMS:
            self._check_made(token, path["batch"])
            return action(call, **path)
        return self._act_once(route, call, path, action, token)

    def _act_once(
        self, route: Route, call: Call, path: Mapping[str, str], action: Callable[..., Any], token: PublicToken
    ) -> Any:
        key = request_key(call) if route.needs is not None and route.needs.repeats else None
        first = self._tokens.spend(token, key, call.now)
        try:
            answer = action(call, **path)
        except (Problem, EngineError) as error:
            refused = error if isinstance(error, Problem) else of_engine(error)
            if first and int(refused.status) < 500:
                self._tokens.give_back(token)
            raise
        if call.made is not None:
            self._tokens.has_made(token, call.made)
        return answer

    def _check_made(self, token: PublicToken, batch: str) -> None:
        try:
            self._tokens.check_made(token, batch)
        except PublicTokenSpent:
            raise Problem("PUBLIC_TOKEN_SPENT", "The public token works once, and did not make this batch.") from None
