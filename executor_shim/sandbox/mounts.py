"""What a sandbox sees of the node's files: a list of mounts that is decided purely, then made."""

from __future__ import annotations

import os
import re

from sojourn.executor_shim.sandbox import syscalls as sys_
from sojourn.executor_shim.sandbox.record import Record

#: Of the node's own system, what programs need: never all of /etc, where configurations with secrets live.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt/hostedtoolcache", "/nix/store")
_ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "debian_version", "fonts", "gai.conf", "host.conf",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "locale.conf", "localtime", "magic", "mailcap",
    "mime.types", "nsswitch.conf", "os-release", "pki/ca-trust", "pki/tls/certs", "pki/tls/cert.pem",
    "protocols", "services", "shells", "ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
                 "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx", "core": "/proc/kcore"}  # fmt: skip
#: Parts of /proc and /sys that tell of the node, or change it. The kernel guards most of them; two locks are better.
_MASKED_FILES = ("/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/timer_list", "/proc/sched_debug",
                 "/proc/sysrq-trigger", "/proc/kmsg", "/proc/kallsyms", "/proc/modules", "/proc/latency_stats",
                 "/proc/cmdline", "/proc/config.gz", "/proc/vmallocinfo", "/proc/slabinfo")  # fmt: skip
_MASKED_DIRECTORIES = ("/proc/acpi", "/proc/scsi", "/proc/asound", "/proc/fs")
_READ_ONLY = ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/tty", "/proc/driver")
_TMP, _VAR_TMP, _SHM = "/tmp", "/var/tmp", "/dev/shm"  # noqa: S108 - the sandbox's own
_INODES_PER_BYTE = 1 / 4096


class Mount(Record):
    """`kind`: bind, proc, tmpfs, devpts, or file (`text`) and link (`text`), which are made rather than mounted."""

    kind: str
    path: str
    source: str = ""
    text: str = ""
    is_writable: bool = False


def planned(
    code: tuple[str, ...],
    readable: tuple[str, ...],
    writable: tuple[str, ...],
    sizes: tuple[int, int],
    files: dict[str, str],
) -> list[Mount]:
    """Everything inside, parents before what lies in them. `sizes`: of /tmp and /dev/shm; `files`: made with a text.

    Paths that the node does not have are left out when they are made, but those of `code`.
    """
    tmp, shm = sizes
    mounts = [Mount("bind", path, path) for path in _SYSTEM]
    mounts += [Mount("bind", f"/etc/{name}", f"/etc/{name}") for name in _ETC if f"/etc/{name}" not in files]
    mounts += [Mount("bind", "/sys/devices/system", "/sys/devices/system")]
    mounts += [Mount("proc", "/proc", text="hidepid=2"), Mount("devpts", "/dev/pts")]
    mounts += [Mount("bind", f"/dev/{name}", f"/dev/{name}", is_writable=True) for name in _DEVICES]
    mounts += [Mount("link", f"/dev/{name}", text=to) for name, to in _DEVICE_LINKS.items()]
    mounts += [Mount("tmpfs", _TMP, text=_limits(tmp), is_writable=True), Mount("link", _VAR_TMP, text=_TMP)]
    mounts += [Mount("tmpfs", _SHM, text=_limits(shm), is_writable=True)]
    mounts += [Mount("tmpfs", "/run", text="mode=711,size=1m,nr_inodes=1k", is_writable=True)]  # criu's alone, see `init`
    mounts += [Mount("file", path, text=text) for path, text in files.items()]
    outside = [path for path in code if not _is_below(path, _SYSTEM)]
    mounts += [Mount("bind", _inside(path), path) for path in _outermost(outside + list(readable))]
    mounts += [Mount("bind", _inside(path), path, is_writable=True) for path in writable]
    return sorted(mounts, key=lambda each: (each.path.count("/"), each.path))


def enter(stage: str, mounts: list[Mount], needed: tuple[str, ...], last_pid: int) -> None:
    """Builds the root out of `mounts` and goes there; nothing else of the node has a name any more.

    In a mount and pid namespace of its own, whose next process has the number after `last_pid`. `stage` is any empty
    directory. `OSError` names what could not be made.
    """
    sys_.mount("none", "/", flags=sys_.MS_REC | sys_.MS_PRIVATE)
    sys_.mount("root", stage, "tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, "mode=755,size=16m,nr_inodes=4k")
    for each in mounts:
        _make(stage, each, is_needed=each.source in needed)
    sys_.swap_root(stage)
    _count_from(last_pid)
    _close_proc()
    _make_read_only(frozenset(each.path for each in mounts if each.is_writable))


def open_proc() -> None:
    """In a container settings of the kernel are read-only: this process gets a /proc of its own where they are not."""
    if os.access("/proc/sys/net", os.W_OK):
        return
    sys_.unshare(sys_.CLONE_NEWNS)
    sys_.mount("none", "/", flags=sys_.MS_REC | sys_.MS_PRIVATE)
    sys_.mount("proc", "/proc", "proc", sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC)


def _make(stage: str, each: Mount, is_needed: bool) -> None:
    at = stage + each.path
    if each.kind == "bind":
        _bind(each.source, at, is_needed)
    elif each.kind == "link":
        os.makedirs(os.path.dirname(at), 0o755, exist_ok=True)
        os.symlink(each.text, at)
    elif each.kind == "file":
        os.makedirs(os.path.dirname(at), 0o755, exist_ok=True)
        with open(at, "w", encoding="utf-8") as file:
            file.write(each.text)
        os.chmod(at, 0o644)
    else:
        os.makedirs(at, 0o755, exist_ok=True)
        flags = sys_.MS_NOSUID | (0 if each.kind == "devpts" else sys_.MS_NODEV)
        options = "newinstance,ptmxmode=0666,mode=0620" if each.kind == "devpts" else each.text
        sys_.mount(each.kind, at, each.kind, flags | (sys_.MS_NOEXEC if each.kind != "tmpfs" else 0), options)


def _bind(source: str, at: str, is_needed: bool) -> None:
    if os.path.islink(source) and not is_needed:
        to = os.readlink(source)
        if "/" not in to or to.startswith("usr/"):  # /bin -> usr/bin: what it leads to is there, too
            os.symlink(to, at)
            return
    try:
        is_directory = os.path.isdir(source)
        if not is_directory:
            os.stat(source)
    except OSError:
        if is_needed:
            raise
        return
    if is_directory:
        os.makedirs(at, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(at), 0o755, exist_ok=True)
        os.close(os.open(at, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    sys_.mount(source, at, flags=sys_.MS_BIND | sys_.MS_REC)


def _count_from(last_pid: int) -> None:
    try:
        with open("/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as file:
            file.write(str(last_pid))
    except FileNotFoundError:  # a kernel that cannot freeze processes
        return


def _close_proc() -> None:
    for path in _MASKED_FILES:
        if os.path.exists(path):
            sys_.mount("/dev/null", path, flags=sys_.MS_BIND)
    for path in _MASKED_DIRECTORIES:
        if os.path.isdir(path):
            sys_.mount("masked", path, "tmpfs", sys_.MS_RDONLY, "size=0,mode=000")
    for path in _READ_ONLY:
        if os.path.exists(path):
            sys_.mount(path, path, flags=sys_.MS_BIND)


def _make_read_only(writable: frozenset[str]) -> None:
    """Every mount but those, with what lies below the ones that were bound; none has devices or set-uid programs."""
    for path, had in _mounted():
        flags = had | sys_.MS_NOSUID | sys_.MS_BIND | sys_.MS_REMOUNT
        if not path.startswith("/dev/"):
            flags |= sys_.MS_NODEV
        if path == "/proc":  # processes write to their own files in it; the rest was closed above
            flags |= sys_.MS_NOEXEC
        elif path not in writable and not path.startswith("/dev/pts"):
            flags |= sys_.MS_RDONLY
        sys_.mount("none", path, flags=flags)


_ESCAPED = re.compile(r"\\([0-7]{3})")
_FLAGS = {"ro": sys_.MS_RDONLY, "nosuid": sys_.MS_NOSUID, "nodev": sys_.MS_NODEV, "noexec": sys_.MS_NOEXEC,
          "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}  # fmt: skip


def _mounted() -> list[tuple[str, int]]:
    """Mount points that are seen here, with their flags."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, _, _, _, path, options, *_ = line.split(" ")
            flags = sum(_FLAGS.get(option, 0) for option in options.split(","))
            found.append((_ESCAPED.sub(lambda found: chr(int(found[1], 8)), path), flags))
    return found


def _limits(size: int) -> str:
    return f"mode=1777,size={size},nr_inodes={max(int(size * _INODES_PER_BYTE), 1024)}"


def _inside(path: str) -> str:
    """Where a path of the node is inside: not through a link, which would lead out while the root is being built."""
    return _TMP + path.removeprefix(_VAR_TMP) if _is_below(path, (_VAR_TMP,)) else path


def _outermost(paths: list[str]) -> list[str]:
    unique = sorted(set(paths))
    return [path for path in unique if not _is_below(path, tuple(each for each in unique if each != path))]


def _is_below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots)
