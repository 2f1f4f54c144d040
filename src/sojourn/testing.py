"""`sojourn.testing`: run tasks in a test, with no platform. See `sojourn.sdk.testing`."""

from sojourn.sdk.testing import Platform, run

__all__ = ["Platform", "run"]
