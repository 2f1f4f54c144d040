"""Which environment variables code looks up while it is imported: those that its image is of, had they had values.

In the user's process. `os.environ` and `os.environb` stay the objects that they are, whoever refers to them; what they
look into is another meanwhile.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import MutableMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any


class Lookups:
    """A context. `names`: what was looked up in it, in order; None: perhaps all there is.

    That is where code went through the environment, but also where it started a program, which got a copy, or a thread
    of Python that goes on, which may look up more at any time. What native code asks the C library for is not seen.
    """

    names: list[str] | None = None

    def __enter__(self) -> Lookups:
        #: What there was before: usage of children, threads.
        self._children = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._threads = set(sys._current_frames())
        self._environ: Any = os.environ
        self._environb: Any = os.environb
        self._data = _data_of(self._environ)
        self._record = _Record(self._data)
        self._look_into(self._record)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        is_replaced = os.environ is not self._environ or _data_of(self._environ) is not self._record
        self._look_into(self._data)
        threads = set(sys._current_frames()) - self._threads
        if not (self._record.all or is_replaced or threads or self._had_children()):
            self.names = sorted(os.fsdecode(name) for name in self._record.names)

    def _look_into(self, data: MutableMapping[bytes, bytes]) -> None:
        self._environ._data = self._environb._data = data

    def _had_children(self) -> bool:
        """Whether there were any, by whatever means: one is there, or its usage has been added up."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return resource.getrusage(resource.RUSAGE_CHILDREN) != self._children
        return True


def _data_of(environ: Any) -> MutableMapping[bytes, bytes]:
    data: MutableMapping[bytes, bytes] = environ._data
    return data


class _Record(MutableMapping[bytes, bytes]):
    """The environment's own mapping, and what was asked of it. What is set is looked up, too: its value is the code's."""

    def __init__(self, data: MutableMapping[bytes, bytes]):
        self._data = data
        self.names: set[bytes] = set()
        self.all = False

    def __getitem__(self, name: bytes) -> bytes:
        self.names.add(name)
        return self._data[name]

    def __setitem__(self, name: bytes, value: bytes) -> None:
        self.names.add(name)
        self._data[name] = value

    def __delitem__(self, name: bytes) -> None:
        self.names.add(name)
        del self._data[name]

    def __iter__(self) -> Iterator[bytes]:
        self.all = True
        return iter(list(self._data))

    def __len__(self) -> int:
        self.all = True
        return len(self._data)
