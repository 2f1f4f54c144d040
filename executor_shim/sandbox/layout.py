"""What is alike in every sandbox, so that a process of one can be thawed in another."""

from __future__ import annotations

#: The user's process has a number that is free again in the next sandbox, where it may be thawed.
USER_PID = 20_001
#: The sandbox's own directories, by their names in an image.
TREES = {"tmp": "/tmp", "shm": "/dev/shm"}  # noqa: S108 - the sandbox's own
