"""The command line asks the server side's processes, and says what they came to grief over."""

from __future__ import annotations

import sys

import pytest

from sojourn.cli import server


@pytest.mark.parametrize("code", ["raise ValueError('a row is broken')", "import sys; sys.exit('a row is broken')"])
def test_a_process_that_says_nothing_has_failed(
    code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    """Python ends with 1 then, which is how `fsck` says that it has found something."""
    monkeypatch.setattr(server, "_command", lambda name, path: [sys.executable, "-c", code])
    with pytest.raises(SystemExit) as ended:
        server.ask("fsck", tmp_path, good=(0, 1))  # type: ignore[arg-type]
    assert ended.value.code == 2 and "a row is broken" in capsys.readouterr().err
