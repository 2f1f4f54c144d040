"""Ports for servers that are started later."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from sojourn.control_plane.embedded import free_ports


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for the kernel's own range; as it is by default."""
    path = tmp_path / "ip_local_port_range"
    path.write_text("32768\t60999\n")
    monkeypatch.setattr(free_ports, "_KERNELS", path)
    return path


def test_they_are_not_among_those_that_the_kernel_gives_away(kernels: Path) -> None:
    found = free_ports.free_ports(4)
    assert len(set(found)) == 4
    assert all(port in range(10_000, 20_000) for port in found)


@pytest.mark.parametrize("told", ["1024\t65535\n", "", "odd"])
def test_where_the_kernel_gives_all_away_its_choice_is_as_good(kernels: Path, told: str) -> None:
    kernels.write_text(told)
    assert free_ports.ours(kernels) == []
    assert len(set(free_ports.free_ports(4))) == 4


def test_one_at_which_somebody_listens_is_passed_over(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, ExitStack() as held:
        port = taken.getsockname()[1]
        monkeypatch.setattr(free_ports, "ours", lambda _: [port])
        assert port not in free_ports.free_ports(1)
        with pytest.raises(OSError):
            free_ports.hold(held, port)


def test_another_process_is_given_others(kernels: Path) -> None:
    """Also while nobody listens yet; until this one has ended."""
    with ExitStack() as held:
        (port,) = free_ports.free_ports(1)
        free_ports.hold(held, port)  # its own still
    code = (
        "import sys; from contextlib import ExitStack; from sojourn.control_plane.embedded import free_ports\n"
        "with ExitStack() as held: free_ports.hold(held, int(sys.argv[1]))"
    )
    other = subprocess.run([sys.executable, "-c", code, str(port)], stderr=subprocess.PIPE, text=True, check=False)
    assert other.returncode == 1 and "Address already in use" in other.stderr
