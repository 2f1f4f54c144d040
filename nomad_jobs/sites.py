"""Where an environment's jobs run in a cluster, and by which driver: JSON settings, read into values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from sojourn.control_plane.domain.regions import EVERY, BadRegions, Regions, objects

DRIVERS = ("raw_exec", "exec", "docker")


class BadSite(ValueError):
    """The setting cannot be used; the text names the entry and what it takes."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a node must be like, in Nomad's words: `attribute` stands in `operator` to `value`."""

    attribute: str
    value: str
    operator: str = "="


@dataclass(frozen=True, slots=True)
class Site:
    """`namespace` empty: that of the access. `python`: the interpreter on the node, or in `image`.

    `image`, `network_mode`: docker's; a version's own image wins.

    `versions_dir`: where the node keeps version trees; empty: in the allocation's own directory. `user`: whom the shim
    runs as; empty: root for raw_exec, which has no user of its own, else the driver's. `capabilities`: what exec or docker
    give the shim beside their usual ones, as far as clients allow. `mhz_per_cpu`: what Nomad's CPU shares are per processor
    of a machine preset.
    """

    driver: str = "raw_exec"
    datacenters: tuple[str, ...] = ("*",)
    node_pool: str = "default"
    namespace: str = ""
    priority: int = 50
    constraints: tuple[Constraint, ...] = ()
    image: str = ""
    network_mode: str = ""
    python: str = ""
    versions_dir: str = ""
    user: str = ""
    capabilities: tuple[str, ...] = ()
    mhz_per_cpu: int = 1000
    disk_mb: int = 300


#: By driver, the `python` and the `versions_dir` of a site that does not name them.
Ways = Mapping[str, tuple[str, str]]


class Sites:
    """Of one cluster, by environments' slugs or ids; what an entry does not say is as in `*`. Regions' options go first."""

    def __init__(self, default: Site, by_name: Mapping[str, Site], regions: Regions, ways: Ways):
        self._default = default
        self._by_name = dict(by_name)
        self._regions = regions
        self._ways = ways

    def of(self, region: str, *names: str) -> Site:
        """The site of the first name that has an entry, else the default; as the region changes it."""
        site = next((self._by_name[name] for name in names if name in self._by_name), self._default)
        return _filled(_site(_OF_REGIONS, region, self._regions.by_name[region].options, site), self._ways)


def read(text: str, regions: Regions, ways: Ways) -> Sites:
    """Sites out of JSON: `{"*": {...}, "prod": {...}}`. `BadSite` names what is wrong, there or in a region's options.

    `region` in an entry is where its runs go, and nothing of a site.
    """
    try:
        given = objects(_OF_SITES, text)
    except BadRegions as error:
        raise BadSite(str(error)) from None
    entries = {name: {each: entry[each] for each in entry if each != "region"} for name, entry in given.items()}
    base = _site(_OF_SITES, EVERY, entries.pop(EVERY, {}), Site())
    sites = Sites(base, {name: _site(_OF_SITES, name, entry, base) for name, entry in entries.items()}, regions, ways)
    for region in regions.names:
        for name in ("", *entries):
            sites.of(region, name)
    return sites


def _filled(site: Site, ways: Ways) -> Site:
    python, versions_dir = ways[site.driver]
    return replace(site, python=site.python or python, versions_dir=site.versions_dir or versions_dir)


_OF_SITES, _OF_REGIONS = "SOJOURN_NOMAD_SITES", "SOJOURN_REGIONS"


def _site(setting: str, name: str, entry: Mapping[str, Any], base: Site) -> Site:
    name = f"{setting} cannot be used: {name}"
    known = {each.name: getattr(base, each.name) for each in fields(Site)}
    changes: dict[str, Any] = {}
    for option, value in entry.items():
        if option not in known:
            raise BadSite(f"{name}: there is no option {option!r}; there are {', '.join(known)}")
        changes[option] = _value(f"{name}.{option}", option, value, type(known[option]))
    made = replace(base, **changes)
    _check(name, made)
    return made


def _value(where: str, option: str, value: Any, kind: type) -> Any:
    if option == "constraints":
        return _constraints(where, value)
    if kind is tuple:
        if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
            raise BadSite(f"{where}: it takes a list of names")
        return tuple(value)
    if type(value) is not kind:
        raise BadSite(f"{where}: it takes {'a whole number' if kind is int else 'a text'}")
    return value


def _constraints(where: str, value: Any) -> tuple[Constraint, ...]:
    if not isinstance(value, list):
        raise BadSite(f"{where}: it takes a list")
    try:
        made = tuple(Constraint(**each) for each in value)
    except TypeError:
        raise BadSite(f"{where}: each takes attribute, value and, if it is not =, operator") from None
    if not all(isinstance(part, str) for each in made for part in (each.attribute, each.value, each.operator)):
        raise BadSite(f"{where}: each part is a text")
    return made


def _check(name: str, site: Site) -> None:
    if site.driver not in DRIVERS:
        raise BadSite(f"{name}.driver: it takes one of {', '.join(DRIVERS)}")
    if site.driver == "docker" and not site.image:
        raise BadSite(f"{name}.image: the driver docker needs one")
    if not 1 <= site.priority <= 100:
        raise BadSite(f"{name}.priority: it takes a whole number from 1 to 100")
    if site.mhz_per_cpu < 1 or site.disk_mb < 20:
        raise BadSite(f"{name}: mhz_per_cpu is 1 at least, disk_mb 20")
