"""A process out of an image, into a sandbox that has none yet."""

from __future__ import annotations

import os

from sojourn.executor_shim.freezing import identity, log, profile, state, trees
from sojourn.executor_shim.freezing.errors import CheckpointInvalid, ThawFailed
from sojourn.executor_shim.sandbox import errands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.sandbox.process import SandboxedProcess

_ARGUMENTS = ["--restore-detached", "--leave-stopped", "--manage-cgroups=ignore", "--tcp-close", "--file-locks"]


def read(image: str) -> tuple[dict[str, Any], int]:
    """What the image says of its process, and the number after which a sandbox for it is to count. `CheckpointInvalid`."""
    told = state.process_of(image)
    taken = identity.task_numbers(image)
    if told["pid"] not in taken:
        raise CheckpointInvalid("the image lacks the process that it is of")
    return told, identity.room(taken, identity.most_numbers())


def restore(
    process: SandboxedProcess, told: dict[str, Any], pipes: dict[int, int], image: str, criu: str, seconds: float
) -> None:
    """Fills the sandbox's private directories, and has criu make the process, stopped. `ThawFailed`."""
    if pipes.keys() != told["pipes"].keys():
        raise CheckpointInvalid(f"the image has the pipes {sorted(told['pipes'])}, not {sorted(pipes)}")
    directory = os.open(image, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        identity.change(image, (told["uid"], process.uid), (told["address"], process.address), told["pid"])
        _fill(process, directory, told["uid"])
        numbers = sorted(pipes)
        for number in (1, 2):
            if number in pipes:  # so that /dev/stdout can be opened
                os.fchown(pipes[number], process.uid, process.uid)
        inherited = [
            argument
            for at, number in enumerate(numbers, start=2)
            for argument in ("--inherit-fd", f"fd[{{{at}}}]:{told['pipes'][number]}")
        ]
        ends = [pipes[number] for number in numbers]
        said = errands.run(process, "restore", [*_ARGUMENTS, *inherited], criu, directory, ends, seconds)
    except OSError as error:
        raise ThawFailed(str(error.strerror or error)) from error
    finally:
        os.close(directory)
    if said.is_late:
        raise ThawFailed(f"criu was not done in {seconds:g} s and was killed")
    if said.status != 0:
        why = log.reason(said.log) if said.status > 0 else f"it was ended by signal {-said.status}"
        raise ThawFailed(f"criu could not restore it: {why}")


def verify(process: SandboxedProcess) -> None:
    """`ThawFailed` if any thread inside may more, or is someone else, than a user's process; all are stopped still."""
    found = profile.deviation(process.members(), process.uid)
    if found is not None:
        raise ThawFailed(f"the thawed process is not what it is to be: {found}")


def _fill(process: SandboxedProcess, directory: int, old: int) -> None:
    for name, tree in errands.look(process).trees.items():
        try:
            trees.copy(directory, name, tree, {old: process.uid})
        finally:
            os.close(tree)
