"""What is said while somebody waits for a run that does not start: what keeps it, once for each reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import click

from sojourn.cli.output import clean
from sojourn.sdk.client import Client
from sojourn.sdk.errors import ApiError

#: Seconds before the first look at what keeps a run, and between later ones.
_PATIENCE, _AGAIN = 3, 10
#: What its own code has asked for keeps nobody wondering.
_ASKED_FOR = "WAITPOINTS"


class WaitingSaid:
    """Tells on stderr what keeps one run. `known`: reasons that were told already."""

    def __init__(self, client: Client, run: str, known: Iterable[str] = (), clock: Callable[[], float] = time.monotonic):
        self._client = client
        self._run = run
        self._clock = clock
        self._known = frozenset(known) | {_ASKED_FOR}
        self._said: frozenset[tuple[str, str]] = frozenset()
        self._due = clock() + _PATIENCE

    @property
    def seconds(self) -> float:
        """Until the next look."""
        return max(self._due - self._clock(), 0)

    def look(self) -> None:
        """Says what keeps the run, if it is time to look, and if that is another than was said last."""
        if self.seconds:
            return
        self._due = self._clock() + _AGAIN
        try:
            found = self._client.why(self._run)["reasons"]
        except ApiError:  # whoever waits is told of it by the next call
            return
        reasons = [each for each in found if each["reason"] not in self._known]
        told = frozenset((each["reason"], each.get("scope", "")) for each in reasons)
        if not told <= self._said:
            words = "; ".join(each["message"] for each in reasons)
            steps = "; ".join(each["nextStep"] for each in reasons if "nextStep" in each)
            click.echo(clean(f"sojourn: {self._run} waits: {words}" + (f" ({steps})" if steps else "")), err=True)
        self._said = told
