"""What becomes ready: named descriptors on one epoll, so that the shim's one thread waits for all of them."""

from __future__ import annotations

import select


class Events:
    """Descriptors by name. A name is reported as long as it is ready (level-triggered)."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._names: dict[int, str] = {}

    def add(self, fd: int, name: str, *, write: bool = False) -> None:
        """Reports `name` when `fd` can be read (or written) without waiting, or is at its end."""
        self._epoll.register(fd, select.EPOLLOUT if write else select.EPOLLIN)
        self._names[fd] = name

    def drop(self, fd: int) -> None:
        """Forgets a descriptor; one that is not known is no error. Before it is closed."""
        if self._names.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:
                return

    def close(self) -> None:
        """Lets go of all of them; they are others' to close."""
        self._epoll.close()

    def wait(self, seconds: float) -> list[str]:
        """The names that are ready, at the latest after `seconds` (then: none)."""
        names = self._names
        return [names[fd] for fd, _ in self._epoll.poll(max(seconds, 0)) if fd in names]
