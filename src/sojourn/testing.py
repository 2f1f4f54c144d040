"""`sojourn.testing`: run tasks in a test, with no platform. See `sojourn.sdk.testing`."""

from sojourn.sdk.testing import Ended, run
from sojourn.sdk.testing_platform import Platform

__all__ = ["Ended", "Platform", "run"]
