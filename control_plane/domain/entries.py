"""What goes into the fair queue and what comes out of it, with the names of the tree's nodes. Pure.

A node's name is text without blanks: the parts joined by `|`. Environments, versions and machines are ids of ours and
hold no `|`; queue names and concurrency keys are any text, so they are percent-encoded.

    lane   <environment>|<version or "current">|<machine>
    leaf   <lane>|<queue>|<key>
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import quote, unquote


def encode(text: str) -> str:
    """Any text as letters, digits and `_.-~/%`: no two texts give the same."""
    return quote(text, safe="/", errors="surrogatepass")


def decode(text: str) -> str:
    """The text that `encode` was given."""
    return unquote(text, errors="surrogatepass") if "%" in text else text


@dataclass(frozen=True, slots=True)
class Entry:
    """A run that is due. `version` is an id or "current", `key` "" is none; `score` is its time in the queue in ms,
    less its priority: lower goes first."""

    run: str
    organization: str
    environment: str
    version: str
    machine: str
    queue: str
    key: str
    score: int

    @property
    def lane(self) -> str:
        """What kind of executor can take the run."""
        return f"{self.environment}|{self.version}|{self.machine}"

    @property
    def leaf(self) -> str:
        """The name of the place where it waits."""
        return f"{self.environment}|{self.version}|{self.machine}|{encode(self.queue)}|{encode(self.key)}"


@dataclass(frozen=True, slots=True)
class Taken:
    """A run that was taken out: it holds its slots. `handed_to` is the executor that it was taken for, if any."""

    run: str
    organization: str
    environment: str
    lane: str
    queue: str
    key: str
    score: int
    handed_to: str | None

    @classmethod
    def at_leaf(cls, organization: str, run: str, leaf: str, score: int, handed_to: str | None) -> Taken:
        """From the leaf's name."""
        environment, version, machine, queue, key = leaf.split("|")
        lane = f"{environment}|{version}|{machine}"
        return cls(run, organization, environment, lane, decode(queue), decode(key), score, handed_to)

    @classmethod
    def from_json(cls, message: str) -> Taken:
        """From what the queue publishes to an executor: `[organization, run, leaf, score, executor]`."""
        organization, run, leaf, score, executor = json.loads(message)
        return cls.at_leaf(organization, run, leaf, int(score), executor)
