"""Keys over any history of making, replacing, revoking and waiting, against a few lines that say the same."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sojourn.control_plane.engine.errors import ApiKeyOver, PublicTokenRefused, RootKeyStays
from sojourn.control_plane.wiring import Platform
from tests.contract.api.conftest import Tenant

_HOURS = st.integers(0, 30)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.one_of(st.none(), st.integers(1, 30))),
        st.tuples(st.just("rotate"), _HOURS),
        st.tuples(st.just("revoke"), _HOURS),
        st.tuples(st.just("wait"), _HOURS),
    ),
    max_size=12,
)


@dataclass
class Known:
    """What is to be expected of a key. `token`: a public token that it signed, if it may."""

    id: str
    secret: str
    is_root: bool
    until: datetime | None = None
    replaced: bool = False
    revoked: bool = False
    token: str | None = None

    def opens(self, now: datetime) -> bool:
        return not self.revoked and (self.until is None or self.until > now)

    @property
    def is_current_root(self) -> bool:
        return self.is_root and not self.replaced


def played(platform: Platform, tenant: Tenant, steps: list[tuple[str, Any]], picks: list[int]) -> None:
    now = platform.clock()
    project = platform.access.projects(tenant.organization)[0]
    environment_id, root = platform.access.create_environment(
        tenant.organization, project.id, f"m{secrets.token_hex(6)}", "PREVIEW", now
    )
    environment = platform.access.environment(environment_id, now)
    assert environment
    known = [Known(platform.keys.list(environment, now)[0].id, root, is_root=True)]

    def sign(key: Known) -> None:
        key.token = platform.public_tokens.mint(environment, ["read:runs"], timedelta(days=100), now)

    def verified(token: str) -> bool:
        try:
            return bool(platform.public_tokens.verify(token, now))
        except PublicTokenRefused:
            return False

    sign(known[0])
    for (step, value), pick in zip(steps, picks, strict=False):
        now += timedelta(seconds=1)
        key = known[pick % len(known)]
        if step == "create":
            until = None if value is None else now + timedelta(hours=value)
            made = platform.keys.create(environment, now, until=until)
            known.append(Known(made.key.id, made.secret, is_root=False, until=until))
        elif step == "rotate":
            may = key.opens(now) and not key.replaced
            try:
                made = platform.keys.rotate(environment, key.id, timedelta(hours=value), now)
            except ApiKeyOver:
                assert not may
            else:
                assert may
                known.append(Known(made.key.id, made.secret, key.is_root, until=key.until))
                end = now + timedelta(hours=value)
                key.replaced, key.until = True, min(end, key.until or end)
                key.revoked = value == 0
                if key.is_root:
                    sign(known[-1])
        elif step == "revoke":
            try:
                platform.keys.revoke(environment, key.id, now)
            except RootKeyStays:
                assert key.is_current_root
            else:
                assert not key.is_current_root
                key.revoked = True
        else:
            now += timedelta(hours=value)
        assert [bool(platform.access.keys.opened_by(each.secret, now)) for each in known] == [
            each.opens(now) for each in known
        ]
        (current,) = [each for each in known if each.is_current_root]
        assert platform.access.keys.root(environment_id, now) == current.secret
        for each in known:
            assert each.token is None or verified(each.token) is each.opens(now)


def test_keys_open_as_long_as_they_should_and_there_is_always_one_root_key(platform: Platform, tenant: Tenant) -> None:
    picks = st.lists(st.integers(0, 50), min_size=12, max_size=12)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps=_STEPS, picks=picks)
    def holds(steps: list[tuple[str, Any]], picks: list[int]) -> None:
        played(platform, tenant, steps, picks)

    holds()
