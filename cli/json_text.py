"""JSON as it is printed: letters as they are where the terminal or the pipe can carry them, else escaped; never dropped."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

_BEYOND_ASCII = re.compile(r"[^\n -~]")


def shown(value: Any, indent: int | None = None) -> str:
    """JSON text that standard output can encode, without characters that a terminal would act on."""
    return _BEYOND_ASCII.sub(_kept_or_escaped, json.dumps(value, indent=indent, ensure_ascii=False))


def _kept_or_escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable():
        try:
            char.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            pass
        else:
            return char
    return json.dumps(char)[1:-1]
