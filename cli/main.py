"""`sojourn`: the command line. A thin face over the SDK's client; the server side runs in processes of its own."""

from __future__ import annotations

import click

from sojourn.cli import (
    access_tokens,
    batches,
    bulk,
    deploy,
    deployments,
    environments,
    envvars,
    keys,
    limits,
    queues,
    runs,
    schedules,
    stack,
    tokens,
    webhooks,
)
from sojourn.sdk.protocol import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="sojourn")
def main() -> None:
    """Durable functions on Nomad.

    `sojourn up` starts everything on this machine, `sojourn deploy DIR` brings your tasks, `sojourn trigger TASK` runs one.
    """


stack.add(main)
deploy.add(main)
deployments.add(main)
envvars.add(main)
runs.add(main)
bulk.add(main)
batches.add(main)
queues.add(main)
tokens.add(main)
schedules.add(main)
keys.add(main)
limits.add(main)
environments.add(main)
access_tokens.add(main)
webhooks.add(main)

if __name__ == "__main__":
    main()
