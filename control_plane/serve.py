"""What gunicorn serves: the application over a platform that is connected by the environment's settings."""

from __future__ import annotations

import logging
from typing import Any

from sojourn.control_plane.config import load
from sojourn.control_plane.wiring import connect
from sojourn.control_plane.wsgi import create_app


def application() -> Any:
    """Called once in each worker."""
    config = load()
    logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return create_app(connect(config, application="sojourn-control-plane"))
