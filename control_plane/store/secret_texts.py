"""New secrets: each begins with what it is, and goes on with characters that nobody can guess."""

from __future__ import annotations

import secrets
import string

_ALPHANUMERIC = string.ascii_letters + string.digits
_KEY_CHARS, _TOKEN_CHARS = 24, 40


def random_text(chars: int) -> str:
    """So many letters and digits."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(chars))


def root_key(slug: str) -> str:
    """A root key of the environment with that slug."""
    return f"tr_{slug}_{random_text(_KEY_CHARS)}"


def additional_key(slug: str) -> str:
    """A key beside the root key; clients know by its form that it signs nothing."""
    return f"tr_{slug}_sk_{random_text(_KEY_CHARS)}"


def personal_token() -> str:
    """A person's token."""
    return f"tr_pat_{random_text(_TOKEN_CHARS)}"


def organization_token() -> str:
    """An organization's token."""
    return f"tr_oat_{random_text(_TOKEN_CHARS)}"
