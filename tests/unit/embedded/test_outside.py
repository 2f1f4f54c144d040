"""What a driver says is told in one line, without the password."""

from __future__ import annotations

import pytest

from sojourn.control_plane.embedded.outside import without_secret

URL = "postgresql://ada:s%40fe@host/name"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("refused\n\tIs the server running?\n", "refused"),
        ("Error 111. Connection refused.", "Error 111. Connection refused"),
        ("bad URL postgresql://ada:s%40fe@host", "bad URL postgresql://ada:…@host"),
        ("bad password s@fe for ada", "bad password … for ada"),
        ("", ""),
    ],
)
def test_one_line_without_the_password(text: str, told: str) -> None:
    assert without_secret(text, URL) == told


def test_a_url_without_a_password_hides_nothing() -> None:
    assert without_secret("no such host: host", "redis://host/0") == "no such host: host"
