"""A file that cannot be imported without a variable of its environment."""

import os

os.environ["OF_A_RUN"]
