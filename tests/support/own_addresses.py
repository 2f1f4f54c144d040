"""What Schemathesis may put into an address: nothing that makes it another operation's, as `current` for a deployment does.

In OpenAPI an address that is written out goes before one with parameters, which the tool does not know. It draws from
the words of the code that is tested, so that it comes upon such a word sooner or later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import schemathesis

from sojourn.control_plane.api.routes import ROUTES

__all__ = ["filter_case"]

_PARAMETER = re.compile(r"{(\w+)}")


def is_anothers(method: str, path: str, parameters: Mapping[str, Any]) -> bool:
    """Whether an address is another operation's with these parameters in it."""
    address = _PARAMETER.sub(lambda name: quote(str(parameters.get(name[1], "x")), safe="%"), path)
    return any(
        re.fullmatch(_PARAMETER.sub("[^/]+", route.path), address) and _says_more(route.path, path)
        for route in ROUTES
        if route.method == method
    )


def _says_more(one: str, other: str) -> bool:
    """Whether one form of an address has words where the other one has parameters."""
    pairs = zip(one.split("/"), other.split("/"), strict=True)
    return one != other and all(mine == its or its.startswith("{") for mine, its in pairs)


@schemathesis.hook
def filter_case(context: Any, case: schemathesis.Case) -> bool:
    return not is_anothers(case.method.upper(), case.operation.path, case.path_parameters or {})
