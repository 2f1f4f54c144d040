"""A file of the project with the name of one of Python's: it must not get into the runner's way."""

raise RuntimeError("the project's queue.py was imported")
