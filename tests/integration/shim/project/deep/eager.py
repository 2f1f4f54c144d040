"""Triggers while it is imported, as an app's file does that lies among the tasks."""

from sojourn import task


@task
def eager(): ...


eager.trigger()
