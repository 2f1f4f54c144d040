"""Environment variables: which names there can be, which values, and how many. Pure."""

from __future__ import annotations

import re

MAX_NAME_CHARS = 255
#: Of a value in UTF-8: half of what Linux hands to a program as one string.
MAX_VALUE_BYTES = 64 * 1024
#: Of one environment: every attempt is given all of them.
MAX_VARIABLES = 1_000
MAX_TOTAL_BYTES = 1024 * 1024
#: Shown in place of a secret's value.
REDACTED = "<redacted>"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: The platform's own, the cluster's, and what decides which code a process loads.
_RESERVED_PREFIXES = ("SOJOURN_", "NOMAD_", "LD_", "DYLD_", "VAULT_")
_RESERVED = frozenset(
    {
        "HOME",
        "LOGNAME",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONUNBUFFERED",
        "TMPDIR",
        "TRIGGER_ACCESS_TOKEN",
        "TRIGGER_API_URL",
        "TRIGGER_SECRET_KEY",
        "USER",
    }
)


def flaw_of_name(name: str) -> str | None:
    """Why a variable cannot have this name; None if it can."""
    if name == "import":  # the address of variables that come together
        return "the name is reserved: choose another one"
    if not _NAME.fullmatch(name):
        return "a name has letters, digits and underscores, and does not begin with a digit"
    if len(name) > MAX_NAME_CHARS:
        return f"a name has {MAX_NAME_CHARS} characters at most"
    if name.upper() in _RESERVED or name.upper().startswith(_RESERVED_PREFIXES):
        return "the name is reserved: choose another one"
    return None


def flaw_of_value(value: str) -> str | None:
    """Why a variable cannot have this value; None if it can. Nothing of the value is told."""
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        return "a value is valid Unicode without NUL"
    if len(value.encode()) > MAX_VALUE_BYTES:
        return f"a value has {MAX_VALUE_BYTES} bytes at most"
    return None
