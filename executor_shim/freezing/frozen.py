"""A child that is frozen into a directory and stopped: what it had said last, and its image."""

from __future__ import annotations

import os
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sojourn.executor_shim.freezing.images import Packed
    from sojourn.executor_shim.freezing.sealing import Writable


@dataclass
class FrozenChild:
    """`messages`, `stdout`, `stderr`: what it had written and nobody had read; to be taken as if it had not been frozen.

    `private`: the sandbox's own directories, as descriptors.
    """

    directory: int
    private: dict[str, int]
    messages: list[dict[str, Any]]
    stdout: bytes
    stderr: bytes

    def pack(self, out: Writable, key: bytes, context: str) -> Packed:
        """Writes the image, sealed, while the process is stopped. `OSError`."""
        from sojourn.executor_shim.freezing import images

        return images.pack(self.directory, self.private, out, key, context)

    def close(self) -> None:
        """Lets go of the directories; the process is its child's business."""
        for fd in self.private.values():
            os.close(fd)
        self.private = {}
