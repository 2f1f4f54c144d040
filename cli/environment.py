"""Which environment of which stack a command is about."""

from __future__ import annotations

from typing import Any

import click


def environment_options(function: Any) -> Any:
    """Which environment of which stack."""
    function = click.option("--data-dir", help="The stack to talk to, if it is not the default one.")(function)
    return click.option("--env", "environment", default="dev", show_default=True, help="The environment.")(function)
