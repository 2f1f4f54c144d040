"""`sojourn.testing`: run tasks in a test, with no platform. See `sojourn.sdk.testing_platform`."""

from sojourn.sdk.testing import Ended
from sojourn.sdk.testing_platform import Platform
from sojourn.sdk.testing_run import run
from sojourn.sdk.testing_tokens import TIMES_OUT
from sojourn.sdk.testing_waits import NobodyCompletesError

__all__ = ["TIMES_OUT", "Ended", "NobodyCompletesError", "Platform", "run"]
