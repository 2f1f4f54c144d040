"""A file that cannot be imported without a variable of its environment."""

import os

from sojourn import task

OF_A_RUN = os.environ["OF_A_RUN"]


@task
def needy(payload):
    return OF_A_RUN
