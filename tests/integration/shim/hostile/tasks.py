"""What hostile code tries. Each task tells how it fared: `denied` with the errno's name, or what it got."""

import ctypes
import errno
import mmap
import os
import pathlib
import platform
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from sojourn import logger, task

libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"


def attempt(what, *arguments):
    try:
        return {"got": repr(what(*arguments))[:200]}
    except OSError as error:
        return {"denied": errno.errorcode.get(error.errno, str(error))}


def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(each) for each in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "call")
    return result


@task(id="try")
def attempts(payload):
    """Attempts by name."""
    return {name: globals()[f"do_{name}"]() for name in payload}


# --- others


def do_processes():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid())


def do_init():
    paths = ("environ", "mem", "maps", "root", "cwd", "fd", "cmdline", "status")
    found = {name: attempt(os.open, f"/proc/1/{name}", os.O_RDONLY) for name in paths}
    return found | {"root_dir": attempt(os.listdir, "/proc/1/root/")}


def do_kill_init():
    return attempt(os.kill, 1, signal.SIGKILL)


def do_ptrace():
    return attempt(call, 101 if X86 else 117, 16, 1, 0, 0)


def do_process_vm():
    return attempt(call, 310 if X86 else 270, 1, 0, 0, 0, 0, 0)


def do_setns():
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    return attempt(call, 308 if X86 else 268, fd, 0)


# --- the machine


def do_mount():
    return attempt(call, 165 if X86 else 40, 0, 0, 0, 0, 0)


def do_real_mount():
    return subprocess.run(["mount", "-t", "tmpfs", "x", "/tmp"], capture_output=True, check=False).returncode


def do_chroot():
    return attempt(os.chroot, "/tmp")


def do_mknod():
    import stat

    return attempt(os.mknod, "/tmp/mem", 0o666 | stat.S_IFCHR, os.makedev(1, 1))


def do_dev_mem():
    return attempt(open, "/dev/mem", "rb")


def do_dev():
    return sorted(os.listdir("/dev"))


def do_user_namespace():
    return attempt(call, 272 if X86 else 97, 0x10000000)


def do_clone_namespace():
    return attempt(call, 56 if X86 else 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)


def do_clone3():
    return attempt(call, 435, 0, 0)


def do_io_uring():
    return attempt(call, 425, 8, 0)


def do_bpf():
    return attempt(call, 321 if X86 else 280, 0, 0, 0)


def do_keyctl():
    return attempt(call, 250 if X86 else 219, 0, -3, 0)


def do_perf():
    return attempt(call, 298 if X86 else 241, 0, 0, -1, -1, 0)


def do_userfaultfd():
    return attempt(call, 323 if X86 else 282, 0)


def do_kexec():
    return attempt(call, 246 if X86 else 104, 0, 0, 0, 0)


def do_module():
    return attempt(call, 313 if X86 else 273, 0, 0, 0)


def do_personality():
    return attempt(call, 135 if X86 else 92, 0x0040000)


def do_unknown_call():
    return attempt(call, 500)


def do_root():
    return [attempt(os.setuid, 0), attempt(os.setresuid, 0, 0, 0), attempt(os.setgid, 0), attempt(os.setgroups, [0])]


def do_sysctl():
    return [
        attempt(pathlib.Path(path).write_text, "1")
        for path in ("/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger")
    ]


def do_status():
    told = pathlib.Path("/proc/self/status").read_text()
    lines = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Groups")
    return {name: lines[name].strip() for name in names} | {"uid": os.getresuid(), "gid": os.getresgid()}


def do_session():
    return {
        "pid": os.getpid(),
        "sid": os.getsid(0),
        "fds": {
            name: os.readlink(f"/proc/self/fd/{name}").split(":")[0]
            for name in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{name}")
        },
    }


# --- files


def do_code():
    here = os.path.dirname(os.path.abspath(__file__))
    link = attempt(os.symlink, "/etc/passwd", os.path.join(here, "link"))
    return [
        attempt(open, __file__, "a"),
        attempt(os.chmod, __file__, 0o777),
        attempt(os.unlink, __file__),
        link,
        attempt(os.mkdir, os.path.join(here, "new")),
        attempt(os.rename, here, here + "x"),
    ]


def do_system():
    return [attempt(open, os.path.join(place, "x"), "w") for place in ("/", "/usr", "/etc", "/dev", sys.prefix)]


def do_notes():
    """What /run shows, and whether a file of criu's can be laid there."""
    return [attempt(os.listdir, "/run"), attempt(open, "/run/criu.kdat", "w"), attempt(os.rename, "/run", "/tmp/run")]


def do_hidden():
    paths = (
        "/etc/shadow",
        "/run/sojourn",
        "/var/run/docker.sock",
        "/var/lib",
        "/home",
        "/boot",
        "/sys/fs/cgroup",
        "/sys/kernel",
        "/proc/1/root",
        "/opt/nomad",
    )
    return [path for path in paths if os.path.exists(path)]


def do_siblings():
    return sorted(os.listdir(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


def do_links():
    for name, to in (("shadow", "/etc/shadow"), ("init", "/proc/1/root/etc/shadow"), ("up", "../../../../../etc/shadow")):
        if not os.path.islink(f"/tmp/{name}"):
            os.symlink(to, f"/tmp/{name}")
    return [attempt(open, f"/tmp/{name}") for name in ("shadow", "init", "up")]


def do_fill():
    def fill():
        with open("/tmp/full", "wb") as file:
            while True:
                file.write(b"x" * (1 << 20))

    told = attempt(fill)
    size = os.path.getsize("/tmp/full")
    os.unlink("/tmp/full")
    return [told, size]


def do_inodes():
    def fill():
        for number in range(1 << 20):
            open(f"/tmp/{number}", "w").close()

    return attempt(fill)


# --- network


def reach(address, port):
    try:
        socket.create_connection((address, port), 4).close()
        return "reached"
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)


@task(id="reach")
def reaches(payload):
    return {f"{address}:{port}": reach(address, port) for address, port in payload}


def do_sockets():
    families = {
        "packet": (17, socket.SOCK_RAW, 0),
        "raw": (2, socket.SOCK_RAW, 1),
        "vsock": (40, 1, 0),
        "alg": (38, 5, 0),
        "netfilter": (16, 3, 12),
        "sctp": (2, 1, 132),
        "dccp": (10, 6, 33),
        "route": (16, 3, 0),
        "unix": (1, 1, 0),
        "bluetooth": (31, 1, 0),
    }
    return {name: attempt(lambda of=of: socket.socket(*of).close()) for name, of in families.items()}


def do_change_network():
    def add_route():
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
            route = struct.pack("=BBBBBBBBI", 2, 32, 0, 0, 254, 4, 0, 1, 0) + struct.pack(
                "=HH4s", 8, 1, bytes([10, 9, 9, 9])
            )
            link.send(struct.pack("=IHHII", 16 + len(route), 24, 0x405, 1, 0) + route)
            number = -struct.unpack_from("=i", link.recv(4096), 16)[0]
            if number:
                raise OSError(number, "route")

    return attempt(add_route)


def do_api():
    """The one address of the platform that is reached, as the SDK would."""
    try:
        urllib.request.urlopen(os.environ["SOJOURN_API_URL"] + "/x/nothing", timeout=10)
    except urllib.error.HTTPError as error:
        return error.code


def do_names():
    return [socket.getaddrinfo("localhost", 80, socket.AF_INET)[0][4][0], socket.gethostname()]


@task(id="listen")
def listens(payload):
    with socket.create_server(("0.0.0.0", 9000)):
        logger.info("listening", address=own_address())
        time.sleep(payload["seconds"])


def own_address():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((WORLD, 9))
        return probe.getsockname()[0]


WORLD = "203.0.113.2"


# --- bombs


@task(id="fork-bomb")
def fork_bomb(payload):
    count = 0
    while True:
        try:
            if os.fork() == 0:
                time.sleep(300)
                os._exit(0)
        except OSError as error:
            return {"denied": errno.errorcode[error.errno], "count": count}
        count += 1


@task(id="thread-bomb")
def thread_bomb(payload):
    count = 0
    while count < 10_000:
        threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
        count += 1
    return count


@task(id="wild-fork-bomb")
def wild_fork_bomb(payload):
    logger.info("bombing")
    while True:
        try:
            os.fork()
        except OSError:
            continue


@task(id="memory-hog")
def memory_hog(payload):
    """All at once: faster than any watch; or `slowly`."""
    with mmap.mmap(-1, payload["bytes"]) as hog:
        for place in range(0, payload["bytes"], 4096):
            hog[place] = 1
            if payload.get("slowly") and place % (1 << 24) == 0:
                time.sleep(0.05)
    return "had it"


@task(id="hog-below")
def hog_below(payload):
    """A process of the task's, not the task's own."""
    code = f"b = bytearray({payload['bytes']})\nfor i in range(0, len(b), 4096): b[i] = 1"
    ended = subprocess.run([sys.executable, "-c", code], check=False).returncode
    time.sleep(30)
    return ended


@task(id="kill-all")
def kill_all(payload):
    with subprocess.Popen(["sleep", "300"]):
        os.kill(-1, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


@task(id="other-numbers")
def other_numbers(payload):
    """A system call by the numbers of 32-bit programs: mov eax, 20 (getpid); int 0x80; ret."""
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()


@task(id="write")
def writes(payload):
    return [attempt(pathlib.Path(path).write_text, "word") for path in payload]


@task
def hello(payload):
    return "hello"


# --- the platform, as if it were its executor


def secrets_in_memory():
    """Whatever looks like a token among the objects and variables of this process."""
    import gc

    found = {value for name, value in os.environ.items() if "KEY" in name or "TOKEN" in name}
    for each in gc.get_objects():
        if type(each) is dict:
            found |= {value for name, value in each.items() if name in ("token", "credential") and type(value) is str}
    return sorted(found)


@task(id="forge-calls")
def forge_calls(payload):
    """Calls of the worker API with every secret there is here, for this run and for another: the answers' statuses."""
    answers = {}
    for bearer in (*secrets_in_memory(), "guessed"):
        for token in (*secrets_in_memory(), "guessed"):
            held = {"run": payload["run"], "snapshot": payload["snapshot"], "token": token}
            outcome = {"ok": True, "output": '"forged"', "outputType": "application/json"}
            done = {**held, "attempt": 1, "outcome": outcome, "usageMs": 0, "logs": []}
            calls = {
                "next": {"wait": None, "served": 1, "request": "r", "completion": done},
                "heartbeat": {**held, "wait": 0},
                "start": held,
                "logs": {**held, "lines": [{"n": 1, "message": "forged", "at": "2026-01-01T00:00:00Z"}]},
                "identity": {"executor": payload["executor"]},
            }
            for name, body in calls.items():
                answers.setdefault(name, set()).add(post(f"/worker/v1/{name}", bearer, body))
    return {"secrets": len(secrets_in_memory())} | {name: sorted(found) for name, found in answers.items()}


def post(path, bearer, body):
    import json

    headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["SOJOURN_API_URL"] + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@task(id="forge-frames")
def forge_frames(payload):
    """Frames as its own runner would send them: for another run, and of a kind that there is none of."""
    from sojourn.executor_shim import frames

    outcome = {"ok": True, "output": '"forged"', "outputType": "application/json"}
    for message in (
        {"type": "outcome", "run": payload["run"], "outcome": outcome},
        {"type": "log", "run": payload["run"], "message": "forged", "n": 1},
        {"type": "lease", "run": payload["run"], "seconds": 10**9},
        {"type": "outcome", "run": None, "outcome": None},
        {"type": "prepared"},
    ):
        os.write(5, frames.encode(message))
    return "sent"


@task(id="spoil-frames")
def spoil_frames(payload):
    """What is no frame at all: the length of one of 4 GB."""
    os.write(5, b"\xff" * 4096)
    time.sleep(60)


@task(id="large-result")
def large_result(payload):
    return "x" * payload["bytes"]


@task(id="log-flood")
def log_flood(payload):
    line = "y" * 1_000
    for _ in range(payload["mb"] * 1_000):
        print(line)
    return "flooded"
