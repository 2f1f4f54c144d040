"""What a person reads (tables, colours) and what a machine reads (`--json`); errors in one line; exit codes.

0 done · 1 the run failed, or a check found something · 2 wrong usage, or this machine does not allow it ·
3 the API refused · 4 there is no such thing · 130 interrupted
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from sojourn.cli.json_text import shown
from sojourn.cli.refusals import line_of
from sojourn.sdk.errors import ApiConnectionError, ApiError, AuthenticationError, NotFoundError, SojournError

OK, FAILED, USAGE, REFUSED, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 4, 130

#: What people copy and programs look for.
_ID = re.compile(r"[a-z]+_[0-9A-Za-z]{16,}")
#: Characters to which a column shrinks on a terminal before a line is longer than that.
_NARROW = 12
#: Characters of a line that no terminal breaks.
_ENDLESS = 1 << 20

_COLOURS = {
    "COMPLETED": "green",
    "FAILED": "red",
    "CRASHED": "red",
    "SYSTEM_FAILURE": "red",
    "TIMED_OUT": "red",
    "EXECUTING": "blue",
    "DEQUEUED": "blue",
}


def command(group: click.Group, name: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A command with `--json`, whose errors are lines and exit codes."""

    def register(function: Callable[..., Any]) -> click.Command:
        wrapped = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")(guarded(function))
        return group.command(name, **settings)(wrapped)

    return register


def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turns what goes wrong into a line on stderr and an exit code."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if hasattr(sys.stdout, "reconfigure"):  # what it cannot encode is escaped
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return function(*args, **kwargs)
        except NotFoundError as error:
            fail(line_of(error), NOT_FOUND)
        except (ApiConnectionError, AuthenticationError) as error:
            fail(line_of(error), USAGE)
        except ApiError as error:
            fail(line_of(error), REFUSED)
        except SojournError as error:
            fail(str(error), USAGE)
        except KeyboardInterrupt:
            fail("interrupted", INTERRUPTED)
        except BrokenPipeError:
            _write_no_more()
            sys.exit(OK)
        except OSError as error:  # a file that cannot be read, or a full disk that the output goes to
            _write_no_more()
            fail(str(error), USAGE)

    return run


def _write_no_more() -> None:
    """Lets Python's last flush of what could not be written fail nobody."""
    with suppress(OSError, ValueError):  # it may be no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def minute(text: str | None, absent: str = "") -> str:
    """A date of the wire for people, to the minute."""
    return text[:16].replace("T", " ") if text else absent


def second(text: str) -> str:
    """The same, to the second."""
    return text[:19].replace("T", " ")


def fail(text: str, code: int) -> NoReturn:
    """One line on stderr, and out."""
    click.echo(f"sojourn: {clean(text)}", err=True)
    sys.exit(code)


def json_of(what: str, text: str, kind: type[Any] = object) -> Any:
    """A JSON value that somebody typed; of that kind, or it is wrong usage."""
    try:
        value = json.loads(text)
    except ValueError as error:
        fail(f"{what} is not JSON ({error}); a text is written with its quotes: '\"hello\"'", USAGE)
    if not isinstance(value, kind):
        fail(f"{what} is no JSON object: write it like '{{\"name\": 1}}'", USAGE)
    return value


def show_json(value: Any) -> None:
    """One JSON document."""
    click.echo(shown(value, 2))


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]], none: str = "nothing") -> None:
    """A table; a status gets its colour. `none`: what is said, on stderr, where there is no row.

    Ids are never broken into lines: elsewhere than on a terminal nothing is; there the other columns shrink first.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[clean(str(cell)) for cell in row] for row in rows]
    if not cells:
        click.echo(none, err=True)
        return
    names = list(columns)
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    needed = 0
    for index, name in enumerate(names):
        longest = max(len(name), *(len(row[index]) for row in cells))
        is_whole = any(_ID.fullmatch(row[index]) for row in cells)
        drawn.add_column(name, overflow="fold", no_wrap=is_whole, min_width=longest if is_whole else None)
        needed += 1 + (longest if is_whole else min(longest, _NARROW))
    for row in cells:
        drawn.add_row(*[Text(cell, style=_COLOURS.get(cell, "")) for cell in row])
    console = Console(highlight=False)
    console.width = max(console.width, needed) if console.is_terminal else _ENDLESS
    console.print(drawn)


@contextmanager
def progress(what: str, as_json: bool) -> Iterator[Callable[[int, int | None], object] | None]:
    """A progress bar on a terminal, beside the output; None elsewhere. It is told what is done, and of how much."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, total=total, completed=done)


def clean(text: str) -> str:
    """Text from elsewhere without what a terminal would act on."""
    return "".join(char for char in text if char in "\n\t" or (char.isprintable() and char != "\x1b"))


def duration(milliseconds: float | None) -> str:
    """`340 ms`, `4.2 s`, `3 m 12 s`."""
    if milliseconds is None:
        return ""
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.1f} s"
    return f"{int(milliseconds // 60_000)} m {int(milliseconds % 60_000 // 1_000)} s"
