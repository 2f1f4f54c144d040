"""How large JSON is. Limits count bytes of UTF-8, whether letters are written as they are or escaped."""

from __future__ import annotations

import json

#: Characters of compact JSON in ASCII for each byte of UTF-8, at most. Room for them is left wherever values travel.
ESCAPED = 3


def size(text: str) -> int:
    """Bytes in UTF-8 of the value that this compact JSON text stands for."""
    if text.isascii() and "\\u" not in text:
        return len(text)
    plain = json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    return len(plain.encode("utf-8", "surrogatepass"))


def exceeds(text: str, limit: int) -> bool:
    """Whether it is larger than `limit` bytes. What cannot be, or has to be, is not looked at closely."""
    if text.isascii() and len(text) <= limit:
        return False
    return len(text) > 6 * limit or size(text) > limit
