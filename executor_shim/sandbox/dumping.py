"""A sandbox's process into an image's directory: all of it is stopped then, or it goes on."""

from __future__ import annotations

import contextlib
import os

from sojourn.executor_shim.freezing import identity, log, state
from sojourn.executor_shim.freezing.errors import CheckpointInvalid, FreezeFailed
from sojourn.executor_shim.sandbox import errands
from sojourn.executor_shim.sandbox.layout import TREES, USER_PID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sojourn.executor_shim.sandbox.process import SandboxedProcess

#: Files that were removed and are still open are kept up to so much.
_GHOSTS = "1G"
#: Connections are not kept, so that nothing of the network is to be locked; locks of files and removed names are.
_ARGUMENTS = [
    "--manage-cgroups=ignore", "--tcp-close", "--skip-in-flight", "--network-lock", "skip", "--file-locks", "--link-remap",
    "--ghost-limit", _GHOSTS, "--leave-stopped",
]  # fmt: skip


_IPC = {"shm": "shared memory", "sem": "semaphores", "msg": "message queues"}


def freeze(process: SandboxedProcess, directory: int, criu: str, seconds: float) -> dict[str, int]:
    """See `SandboxedProcess.freeze`."""
    if process.exit_code is not None:
        raise FreezeFailed("the process has ended")
    _refuse_strays(process)
    external = [argument for name in process.pipes.values() for argument in ("--external", name)]
    arguments = ["-t", str(USER_PID), *_ARGUMENTS, "--timeout", str(int(seconds)), *external]
    try:
        said = errands.run(process, "dump", arguments, criu, directory, [], seconds)
        if said.is_late:
            raise FreezeFailed(f"criu was not done in {seconds:g} s and was killed")
        if said.status < 0:
            raise FreezeFailed(f"criu was ended by signal {-said.status}")
        if said.status != 0:
            raise FreezeFailed(f"criu refused: {log.reason(said.log)}")
        image = f"/proc/self/fd/{directory}"
        process.stopped, process.kept_names = identity.stopped(image), identity.kept_names(image)
        _refuse_strays(process)  # as everything stands still now, there can be no others
        state.keep_process(directory, process.uid, USER_PID, process.pipes, process.address)
        inside = errands.look(process)
        if inside.ipc:
            _close(inside.trees)
            raise FreezeFailed(f"System V {_IPC[inside.ipc[0]]} cannot be kept: use multiprocessing's, or threading's")
        return inside.trees
    except (OSError, CheckpointInvalid) as error:
        process.thaw_in_place()
        raise FreezeFailed(str(getattr(error, "strerror", None) or error)) from error
    except FreezeFailed:
        process.thaw_in_place()
        raise


def tidy(process: SandboxedProcess) -> None:
    """Removes the names that criu gave to removed files that are open: a process that goes on in place has no use for them.

    Everything is stopped still, so a name leads where it led. What cannot be removed stays, as one file among the others.
    """
    if not process.kept_names:
        return
    try:
        inside = errands.look(process)
    except OSError:
        return
    for path in process.kept_names:
        for name, root in inside.trees.items():
            below = TREES[name] + "/"
            if path.startswith(below):
                with contextlib.suppress(OSError):
                    os.unlink(path.removeprefix(below), dir_fd=root)
    _close(inside.trees)


def _close(trees: dict[str, int]) -> None:
    for fd in trees.values():
        os.close(fd)


def _refuse_strays(process: SandboxedProcess) -> None:
    strays = process.strays()
    if strays:
        raise FreezeFailed(f"{_name(strays[0])} runs beside the task's process and not below it: a daemon cannot be kept")


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return f"a process ({pid})"
