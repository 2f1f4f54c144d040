"""`python -m sojourn.executor_shim.sandbox [--json] [--options JSON]`: what a sandbox on this node holds."""

from __future__ import annotations

import json
import os
import sys

from sojourn.executor_shim.sandbox.options import Options
from sojourn.executor_shim.sandbox.paths import needed_paths
from sojourn.executor_shim.sandbox.report import examine


def main(arguments: list[str]) -> int:
    """0 when every property holds, 1 when one does not, 2 for options that cannot be used."""
    given = "auto"
    if "--options" in arguments[:-1]:
        given = json.loads(arguments[arguments.index("--options") + 1])
    try:
        options = Options.read(given)
    except (ValueError, TypeError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    report = examine(options, needed_paths(dict(os.environ)))
    print(json.dumps(report.as_json()) if "--json" in arguments else report.as_text())
    return 0 if all(each.holds for each in report.properties) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
