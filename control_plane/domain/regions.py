"""Regions: names for where runs may go, each a cluster with options of its own; which one a run goes to. Pure.

`default` is always there: the cluster of the NOMAD_ settings, or this machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT = "default"
#: The entry of the sites that every environment starts from.
EVERY = "*"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class BadRegions(ValueError):
    """A setting cannot be used; the text names the setting's variable, the entry and what it takes."""


@dataclass(frozen=True, slots=True)
class Region:
    """`cluster` empty: that of the NOMAD_ settings. `options`: of a site, which go before the environment's."""

    cluster: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


class Regions:
    """`by_name` without `default`; `defaults`: by an environment's slug or id, or `*`, where its runs go else."""

    def __init__(self, by_name: Mapping[str, Region] | None = None, defaults: Mapping[str, str] | None = None):
        self.by_name: Mapping[str, Region] = {DEFAULT: Region(), **(by_name or {})}
        self._defaults = dict(defaults or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, `default` first."""
        return tuple(self.by_name)

    def of_environment(self, *names: str) -> str:
        """Where an environment's runs go that name no region. `names`: its id and its slug."""
        return next((self._defaults[name] for name in (*names, EVERY) if name in self._defaults), DEFAULT)


def read(regions: str, sites: str) -> Regions:
    """Regions out of the texts of both settings. `BadRegions` for what cannot be used.

    What a site's options may be is checked by who places.
    """
    by_name = {name: _region(name, entry) for name, entry in objects("SOJOURN_REGIONS", regions).items()}
    entries = objects("SOJOURN_NOMAD_SITES", sites)
    defaults = {name: entry["region"] for name, entry in entries.items() if "region" in entry}
    there = (DEFAULT, *by_name)
    for name, region in defaults.items():
        if region not in there:
            raise BadRegions(f"SOJOURN_NOMAD_SITES cannot be used: {name}.region: it takes one of {', '.join(there)}")
    return Regions(by_name, defaults)


def objects(variable: str, text: str) -> dict[str, dict[str, Any]]:
    """Names with an object each, out of JSON. Nothing of the text is ever in an error, which may be logged."""
    try:
        given = json.loads(text) if text else {}
    except ValueError as error:
        raise BadRegions(f"{variable} cannot be used: no JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadRegions(f"{variable} cannot be used: it takes an object: names, each with an object of options")
    for name, entry in given.items():
        if not isinstance(entry, dict):
            raise BadRegions(f"{variable} cannot be used: {name}: it takes an object")
    return given


def is_name(text: str) -> bool:
    """Whether a region or a cluster may be called so: it is part of lanes and of jobs' ids."""
    return _NAME.fullmatch(text) is not None


def _region(name: str, entry: Mapping[str, Any]) -> Region:
    where = f"SOJOURN_REGIONS cannot be used: {name[:80]}"
    if name == DEFAULT:
        raise BadRegions(f"{where}: that is the cluster of the NOMAD_ settings: choose another name")
    if not is_name(name):
        raise BadRegions(f"{where}: a region's name has 1 to 64 letters, digits, _ . or -")
    cluster = entry.get("cluster", "")
    if not isinstance(cluster, str):
        raise BadRegions(f"{where}.cluster: it takes a cluster's name")
    return Region(cluster, {option: value for option, value in entry.items() if option != "cluster"})
