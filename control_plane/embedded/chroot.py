"""What tasks of the driver exec see on the private Nomad: a root of links, small, with this interpreter in it.

Nomad links (or copies) each file of `chroot_env` whenever a task starts. Its own list, all of /usr and /lib among it, takes
longer than a run may wait: so it is what Python, this environment and the shell need. They lie where any user may look,
wherever on this machine they come from: at /opt/sojourn.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import sojourn
from sojourn.control_plane.cluster_facts import CHROOT_HOME

#: Where this environment is in there, and its interpreter.
HOME = Path(CHROOT_HOME)
PYTHON = HOME / "bin/python"
_BASE, _CODE = HOME / "base", HOME / "code"
_SYSTEM = ("/usr/bin", "/usr/lib64", "/usr/sbin/nft", "/usr/share/zoneinfo", "/usr/share/ca-certificates")
#: Where the system has merged these into /usr they are links in the root, else directories of their own.
_MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_ETC = (
    "ca-certificates", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
    "nsswitch.conf", "os-release", "passwd", "protocols", "resolv.conf", "services", "ssl",
)  # fmt: skip
#: Interpreters that are the system's own stay where they are.
_IN_PLACE = (Path("/usr"), Path("/usr/local"))
#: Parts of the standard library that no task needs.
_LEFT_OUT = frozenset({"test", "idlelib", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages"})


def environment(skeleton: Path) -> dict[str, str]:
    """`chroot_env`: paths here to paths there. `skeleton` is a directory that is made to hold what is not a copy."""
    base, library = Path(sys.base_prefix), Path(sysconfig.get_path("stdlib"))
    home = base if base in _IN_PLACE else _BASE
    _write_skeleton(skeleton, home)
    found = {str(skeleton): "/"}
    found |= {path: path for path in (*_SYSTEM, *_system_libraries(), *(f"/etc/{name}" for name in _ETC))}
    executable = os.path.realpath(sys.executable)
    found[executable] = str(home / "bin" / _name())
    found |= {str(each): str(home / "lib" / each.name) for each in (base / "lib").glob("libpython*")}
    parts = (each for each in library.iterdir() if each.name not in _LEFT_OUT)
    found |= {str(each): str(home / library.relative_to(base) / each.name) for each in parts}
    found |= {sysconfig.get_path(name): str(HOME / "lib" / _name() / "site-packages") for name in ("purelib", "platlib")}
    found |= dict(_package())
    return {here: there for here, there in found.items() if os.path.exists(here)}


def _write_skeleton(skeleton: Path, home: Path) -> None:
    packages = skeleton / HOME.relative_to("/") / "lib" / _name() / "site-packages"
    for directory in (skeleton, packages, skeleton / PYTHON.parent.relative_to("/")):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    (packages / "_sojourn.pth").write_text(f"{_CODE}\n")
    (skeleton / HOME.relative_to("/") / "pyvenv.cfg").write_text(f"home = {home / 'bin'}\n")
    # Relative, since Nomad looks for a program before the root is the task's.
    links = {PYTHON: Path(os.path.relpath(home / "bin" / _name(), PYTHON.parent))}
    links |= {each: each.readlink() for each in (Path("/", name) for name in _MERGED) if each.is_symlink()}
    for there, to in links.items():
        link = skeleton / there.relative_to("/")
        link.unlink(missing_ok=True)
        link.symlink_to(to)


def _system_libraries() -> Iterator[str]:
    """Of /usr/lib nothing but what the loader looks through."""
    triplet = sysconfig.get_config_var("MULTIARCH")
    merged = [Path("/", name) for name in _MERGED]
    yield from (str(each) for each in merged if each.name != "lib" and each.is_dir() and not each.is_symlink())
    yield from (f"{at}/{triplet}" for at in ("/usr/lib", "/lib") if triplet and not Path(at).is_symlink())


def _package() -> Iterator[tuple[str, str]]:
    """This package, found before any other: one that is edited in place has parts elsewhere."""
    for root in map(Path, sojourn.__path__):
        at = _CODE / root.name
        yield from ((os.path.realpath(each), str(at / each.name)) for each in root.iterdir() if each.name != "__pycache__")


def _name() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"
