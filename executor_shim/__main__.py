"""The executor's process: `python -m sojourn.executor_shim --config-fd N`, or `--nomad` inside a Nomad allocation."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sojourn.executor_shim.sandbox.keeper import Keeper

_USAGE = "usage: python -m sojourn.executor_shim --config-fd N | --nomad"
#: What a swap is answered with when the allocation is not, or no longer, wanted: no failure of its own.
_NOT_WANTED = (401, 409)


def main() -> int:
    """Serves until it leaves."""
    match sys.argv[1:]:
        case ["--config-fd", number] if number.isdigit():
            return _serve_process(int(number))
        case ["--nomad"]:
            return _serve_allocation()
    print(_USAGE, file=sys.stderr)
    return 2


def _keeper(leave: int | None = None) -> Keeper | None:
    """What makes sandboxes is forked before this process knows a secret; only root's can make any."""
    if not _is_root():
        return None
    from sojourn.executor_shim.sandbox.keeper import Keeper

    return Keeper.start(leave)


def _is_root() -> bool:
    """Whether this process is root, or has become so: a driver gives capabilities to any user."""
    if os.geteuid() == 0:
        return True
    from sojourn.executor_shim.sandbox.privileges import regain

    return regain()


def _serve_process(fd: int) -> int:
    keeper = _keeper(leave=fd)
    from sojourn.executor_shim.settings import Settings
    from sojourn.executor_shim.shim import Shim

    return Shim(Settings.read(fd), keeper).serve()


def _serve_allocation() -> int:
    keeper = _keeper()
    from sojourn.executor_shim.allocation import Swap
    from sojourn.executor_shim.control import OutOfTouch, Refused
    from sojourn.executor_shim.journal import note

    swap = Swap(os.environ)
    from sojourn.executor_shim.shim import Shim  # while the answer is on its way: some ms of a cold start

    try:
        settings = swap.settings()
    except Refused as error:
        note(f"refused: {error}")
        return 0 if error.status in _NOT_WANTED else 1
    except (OutOfTouch, ValueError, KeyError, TypeError) as error:
        note(f"no executor: {error}")
        return 1
    return Shim(settings, keeper).serve()


if __name__ == "__main__":
    sys.exit(main())
