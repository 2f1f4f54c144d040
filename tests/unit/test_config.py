"""Settings are read or refused; a refusal names the variable and shows nothing of a secret."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest

from sojourn.control_plane.config import SettingError, load

KEY = urlsafe_b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgresql://u:p@host:5432/name"),
        ("DATABASE_URL", "postgres://u:p%2F%40@[::1]/name?sslmode=require"),
        ("DATABASE_URL", "postgresql://postgres@/name?host=/run/postgresql"),
        ("REDIS_URL", "rediss://:p@host:6379/0"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("SOJOURN_MASTER_KEY", KEY),
    ],
)
def test_what_can_be_used(variable: str, value: str) -> None:
    assert value in vars(load({variable: value})).values()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "secret"),
        ("DATABASE_URL", "mysql://u:secret@host/name"),
        ("DATABASE_URL", "postgresql://u:secret@host:port/name"),
        ("DATABASE_URL", "postgresql://u:secret@host:70000/name"),
        ("DATABASE_URL", "postgresql://u:1/secret@host/name"),
        ("DATABASE_URL", "postgresql://u:1?secret@host/name"),
        ("DATABASE_URL", "postgresql://u:1#secret@host/name"),
        ("DATABASE_URL", "postgresql://u:secret@[host/name"),
        ("REDIS_URL", "redis://:secret@host:port/0"),
        ("REDIS_URL", "redis://:1/secret@host/0"),
        ("SOJOURN_MASTER_KEY", "secret"),
        ("SOJOURN_MASTER_KEY", KEY[:-4]),
        ("SOJOURN_MASTER_KEY", "sécret"),
        ("SOJOURN_PORT", "abc"),
        ("SOJOURN_PORT", "0"),
        ("SOJOURN_PLACES", "1.5"),
        ("SOJOURN_LOG_LEVEL", "loud"),
    ],
)
def test_what_cannot_be_used(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"^{variable} cannot be .*: it takes ") as caught:
        load({variable: value})
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
