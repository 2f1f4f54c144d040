"""Immutable records with named fields, as `typing.NamedTuple` has them, without the 15 ms of imports and of generated
code that those or dataclasses would add to every cold start."""

from __future__ import annotations

from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from typing import NamedTuple as Record
else:

    class Record(tuple):
        """Fields are the annotations of a subclass, in order; a value there is the default."""

        __slots__ = ()

        def __init_subclass__(cls) -> None:
            cls._fields = tuple(cls.__annotations__)
            cls._field_defaults = {name: cls.__dict__[name] for name in cls._fields if name in cls.__dict__}
            for index, name in enumerate(cls._fields):
                setattr(cls, name, property(itemgetter(index)))

        def __new__(cls, *values: Any, **named: Any) -> Record:
            given = dict(zip(cls._fields, values, strict=False)) | named
            if len(values) > len(cls._fields) or len(given) != len(values) + len(named) or given.keys() - set(cls._fields):
                raise TypeError(f"{cls.__name__} has the fields {', '.join(cls._fields)}")
            given = cls._field_defaults | given
            missing = [name for name in cls._fields if name not in given]
            if missing:
                raise TypeError(f"{cls.__name__} needs {', '.join(missing)}")
            return tuple.__new__(cls, [given[name] for name in cls._fields])

        def __repr__(self) -> str:
            told = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
            return f"{type(self).__name__}({told})"

        def _asdict(self) -> dict[str, Any]:
            return dict(zip(self._fields, self, strict=True))

        def _replace(self, **changed: Any) -> Record:
            return type(self)(**(self._asdict() | changed))
