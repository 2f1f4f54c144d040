"""What a node may have again in a moment, or another has: memory, processes, descriptors, disk, an answer in time."""

from __future__ import annotations

import errno

_SCARCE = frozenset({
    errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ETIMEDOUT,
})  # fmt: skip


def is_want(error: BaseException) -> bool:
    """Whether that error is for want of such."""
    return isinstance(error, OSError) and error.errno in _SCARCE
