"""`sojourn`: the command line. A thin face over the SDK's client; the server side runs in processes of its own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

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
    output,
    queues,
    runs,
    schedules,
    stack,
    tasks,
    tokens,
    webhooks,
)
from sojourn.sdk.protocol import VERSION

#: Raised where a group is called without a command, with the help as its message; older releases of click print that.
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())
#: Characters, which no sentence of a help has.
_SENTENCE = 1_000


class Commands(click.Group):
    """The commands; wrong usage is told in one line, as everything that goes wrong."""

    group_class = type  # groups below are of this class, too

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **more: Any) -> Any:  # type: ignore[override]
        """Runs a command, and ends the process unless `standalone_mode` is off."""
        is_alone = more.pop("standalone_mode", True)
        run: Callable[[], Any] = functools.partial(super().main, args, prog_name, standalone_mode=False, **more)
        if not is_alone:
            return run()
        try:
            code = run()
        except click.UsageError as error:
            if isinstance(error, _NO_ARGUMENTS):
                error.show()
                sys.exit(output.USAGE)
            output.fail(_usage(error), output.USAGE)
        except click.ClickException as error:
            output.fail(error.format_message(), output.USAGE)
        except click.Abort:
            output.fail("interrupted", output.INTERRUPTED)
        sys.exit(code if type(code) is int else output.OK)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with its whole first sentence, on several lines if need be."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        rows = [(name, command.get_short_help_str(_SENTENCE)) for name, command in found if command is not None]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _usage(error: click.UsageError) -> str:
    """What is wrong, and where the right use is told."""
    path = error.ctx.command_path if error.ctx else "sojourn"
    return f"{' '.join(error.format_message().split()).rstrip('.')}; see `{path} --help`"


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="sojourn")
def main() -> None:
    """Durable functions on Nomad.

    `sojourn up` starts everything on this machine, `sojourn deploy DIR` brings your tasks, `sojourn trigger TASK` runs one.
    """


stack.add(main)
deploy.add(main)
deployments.add(main)
tasks.add(main)
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
