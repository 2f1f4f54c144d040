"""What a function asks for, read off its code object; `inspect` is loaded only for callables that have none."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_VAR_KEYWORD = 0x08


class Signature:
    """`positional`, `keyword_only`: names in order. `optional`: those with a default. `takes_any`: it has **kwargs."""

    __slots__ = ("keyword_only", "optional", "positional", "takes_any")

    def __init__(self, positional: list[str], keyword_only: list[str], optional: set[str], takes_any: bool):
        self.positional, self.keyword_only = positional, keyword_only
        self.optional, self.takes_any = optional, takes_any


def signature(function: Callable[..., Any]) -> Signature:
    """The signature of a function, a method, or another callable; `functools.wraps` is undone."""
    inner: Any = function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    bound = hasattr(inner, "__func__") and hasattr(inner, "__self__")
    if bound:
        inner = inner.__func__
    code = getattr(inner, "__code__", None)
    if code is None or not hasattr(code, "co_posonlyargcount"):
        return _inspected(function)
    names = code.co_varnames
    positional = list(names[: code.co_argcount])
    keyword_only = list(names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    defaults = len(inner.__defaults__ or ())
    optional = set(positional[len(positional) - defaults :]) | set(inner.__kwdefaults__ or ())
    return Signature(positional[1:] if bound else positional, keyword_only, optional, bool(code.co_flags & _VAR_KEYWORD))


def source_of(function: Callable[..., Any]) -> tuple[str, int]:
    """The file and line where a function is defined."""
    inner: Any = function
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    code = getattr(getattr(inner, "__func__", inner), "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code is not None else ("<unknown>", 0)


def _inspected(function: Callable[..., Any]) -> Signature:
    import inspect

    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return Signature(
        [p.name for p in parameters if p.kind in kinds],
        [p.name for p in parameters if p.kind is p.KEYWORD_ONLY],
        {p.name for p in parameters if p.default is not p.empty},
        any(p.kind is p.VAR_KEYWORD for p in parameters),
    )
