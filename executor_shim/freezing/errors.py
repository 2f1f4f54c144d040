"""What can go wrong: a process that is not frozen lives on, one that is not thawed does not live."""

from __future__ import annotations


class FreezeFailed(Exception):
    """It was not frozen and goes on in memory. The text is one line that says why."""


class ThawFailed(Exception):
    """It could not be thawed; nothing is left of it. The text is one line that says why."""

    code = "THAW_FAILED"


class CheckpointInvalid(ThawFailed):
    """The image is not what was frozen, and criu has not seen a byte of it: no further try can succeed."""

    code = "CHECKPOINT_INVALID"
