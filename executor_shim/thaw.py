"""What a process does first after it was frozen: nothing in it may be the same in two thawings of one image."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def renew() -> None:
    """Reseeds the random numbers of what is loaded, and closes connections, which no longer lead anywhere."""
    loaded = sys.modules
    if "ssl" in loaded:
        loaded["ssl"].RAND_add(os.urandom(32), 32.0)
    if "random" in loaded:
        loaded["random"].seed()
    numpy_random: Any = loaded.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    close_idle_connections()


def close_idle_connections() -> None:
    """What the SDK keeps open between two calls; its next call opens another."""
    clients: Any = sys.modules.get("sojourn.sdk.default_client")
    if clients is not None:
        clients.close_connections()
