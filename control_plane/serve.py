"""What gunicorn serves: the application over a platform that is connected by the environment's settings."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from sojourn.control_plane.config import load
from sojourn.control_plane.wiring import connect
from sojourn.control_plane.wsgi import create_app


class Served:
    """The application, and the way to end its long polls when the worker is told to leave."""

    def __init__(self) -> None:
        config = load()
        logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._platform = connect(config, application="sojourn-control-plane")
        self._app = create_app(self._platform)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    def interrupt(self) -> None:
        """Ends every wait."""
        self._platform.mailbox.interrupt()

    def close(self) -> None:
        """Says what is still to be said. Connections end with the process: a request that was cut off may hold one."""
        self._platform.notices.close()


def application() -> Served:
    """Called once in each worker."""
    return Served()
