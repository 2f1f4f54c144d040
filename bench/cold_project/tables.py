"""A task that imports what takes long."""

import time

import numpy
import pandas

from sojourn import Retry, task


@task(retry=Retry(max_attempts=1))
def tables(payload):
    now = time.time()
    assert pandas.Series(numpy.arange(3)).sum() == 3
    return now
