"""A container image without a registry: this interpreter and this package, imported into an engine of the test's own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sojourn.control_plane.embedded import chroot, nomad_remains
from tests.support.stack import until

NAME = "sojourn-test:1"


def build(host: str, directory: Path) -> str:
    """The name of an image, made by the engine at `host`; `directory` is for what lies in it beside copies."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for here, there in _files(directory / "skeleton"):
            tar.add(here, there.lstrip("/") or ".", recursive=True)
        for name in ("tmp", "var/tmp", "proc", "sys", "dev", "run"):
            made = tarfile.TarInfo(name)
            made.type, made.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755
            tar.addfile(made)
    command = ["docker", "--host", host, "import", "-", NAME]
    subprocess.run(command, input=packed.getvalue(), check=True, capture_output=True, timeout=600)
    return NAME


def _files(skeleton: Path) -> Iterator[tuple[str, str]]:
    """Of what tasks by exec see, what a shim needs: libraries that are loaded, no environment but this package."""
    triplet = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}"
    left_out = ("/usr/bin", "/usr/share", triplet, "/usr/sbin", sysconfig.get_path("purelib"))
    interpreter = os.path.realpath(sys.executable)
    for here, there in chroot.environment(skeleton).items():
        if here == interpreter or not here.startswith(left_out):
            yield here, there
    modules = Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("*.so")
    told = subprocess.run(
        ["ldd", sysconfig.get_config_var("BINDIR") + "/python3", *modules], capture_output=True, text=True
    )
    libraries = {Path(word) for line in told.stdout.splitlines() for word in line.split() if word.startswith("/lib")}
    found = {each.name: each.resolve() for each in (*libraries, *Path(triplet).glob("ld-linux*"))}
    for name, path in sorted(found.items()):
        yield str(path), f"{triplet}/{name}"


@contextmanager
def engine(directory: Path) -> Iterator[str]:
    """A Docker engine of the test's own: its address. It has no network beside the node's, and changes no firewall."""
    host = f"unix://{directory}/docker.sock"
    places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
    options = ["--bridge=none", "--iptables=false", "--ip-forward=false", "--host", host]
    options += [word for name, at in places.items() for word in (f"--{name}", str(directory / at))]
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen(["dockerd", *options], stdout=log, stderr=log)
    try:
        until(lambda: _answers(host) or daemon.poll() is not None, 30, "the engine answers")
        assert daemon.poll() is None, (directory / "log").read_text()[-2000:]
        yield host
    finally:
        daemon.terminate()
        daemon.wait(120)
        nomad_remains.unmount(directory)


def _answers(host: str) -> bool:
    return subprocess.run(["docker", "--host", host, "info"], capture_output=True).returncode == 0
