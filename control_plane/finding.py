"""What one look of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One look. `state`: ok, note or bad. `text` says what is there, and for what is not ok how that is changed."""

    what: str
    state: str
    text: str
