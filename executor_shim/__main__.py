"""The executor's process: `python -m sojourn.executor_shim --config-fd N`."""

from __future__ import annotations

import sys

from sojourn.executor_shim.settings import Settings
from sojourn.executor_shim.shim import Shim


def main() -> int:
    """Serves until it leaves."""
    if len(sys.argv) != 3 or sys.argv[1] != "--config-fd" or not sys.argv[2].isdigit():
        print("usage: python -m sojourn.executor_shim --config-fd N", file=sys.stderr)
        return 2
    return Shim(Settings.read(int(sys.argv[2]))).serve()


if __name__ == "__main__":
    sys.exit(main())
