"""Kinds of settings: how the text of each is read, and what it may be, in words. `ValueError` for what cannot be read."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sojourn.control_plane.domain import addresses, allowance, buckets, keeping, waiting_terms

#: What reads a text, and what that may be.
Kind = tuple[Callable[[str], Any], str]


def number(low: float, high: float) -> Kind:
    """Any number between the two, or one of them."""
    return _within(float, low, high), f"a number from {low:g} to {high:g}"


def whole(low: int, high: int) -> Kind:
    """The same of whole numbers."""
    return _within(int, low, high), f"a whole number from {low} to {high}"


def url(*schemes: str) -> Kind:
    """A URL of one of the schemes."""

    def read(text: str) -> str:
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError
        _ = urlsplit(text).port  # raises ValueError for what is no port
        # A password with a bare / ? or # ends the host early: its parts would be taken for host and port, and shown.
        _, *rest = re.split("[/?#]", text.partition("://")[2])
        if any("@" in part for part in rest):
            raise ValueError
        return text

    begins = " or ".join(f"{scheme}://" for scheme in schemes)
    return read, f"a URL that begins with {begins}, in whose password / ? # @ are written %2F %3F %23 %40"


def key() -> Kind:
    """A key that seals."""

    def read(text: str) -> str:
        if len(urlsafe_b64decode(text)) != 32:
            raise ValueError
        return text

    return read, "32 bytes in URL-safe base 64"


def choice(*words: str) -> Kind:
    """One of a few words, in any case."""

    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError
        return text.lower()

    return read, "one of " + ", ".join(words)


def flag() -> Kind:
    """Yes or no."""
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

    def read(text: str) -> bool:
        if text.lower() not in words:
            raise ValueError
        return words[text.lower()]

    return read, "true or false"


def listed(what: str) -> Kind:
    """Some of what is said, with commas between; blanks around them are left out."""

    def read(text: str) -> str:
        if any(not part.strip() for part in text.split(",")):
            raise ValueError
        return ",".join(part.strip() for part in text.split(","))

    return read, f"{what}, with commas between"


def counts() -> Kind:
    """How many of something environments have; see `keeping`."""
    takes = "counts for environments, and machines if not the default one, as in prod=2,prod/large-1x=1,*=0"
    return _checked(keeping.read), takes


def terms() -> Kind:
    """When waits of environments are frozen; see `waiting_terms`."""
    return _checked(waiting_terms.read), "environments and off or seconds, as in staging=off,prod=30"


def rate() -> Kind:
    """How many calls may come; see `allowance`."""
    return _checked(allowance.read), "off, or three whole numbers, as in 30000:10000/10"


def paths() -> Kind:
    """Absolute paths, with commas between."""
    read_list, _ = listed("")

    def read(text: str) -> str:
        text = read_list(text)
        if any(not part.startswith("/") for part in text.split(",")):
            raise ValueError
        return text

    return read, "absolute paths, with commas between"


def networks() -> Kind:
    """IPv4 networks, with commas between."""
    read_list, _ = listed("")

    def read(text: str) -> str:
        text = read_list(text)
        for part in text.split(","):
            IPv4Network(part)
        return text

    return read, "IPv4 networks such as 10.1.0.0/16, with commas between"


def webhook_networks() -> Kind:
    """Networks and words for some; see `addresses`."""
    takes = f"any of {', '.join(addresses.WORDS)}, and networks such as 10.1.0.0/16, with commas between"
    return _checked(addresses.read), takes


def object_store() -> Kind:
    """A directory, or a bucket; see `buckets`."""

    def read(text: str) -> str:
        if text.startswith("s3://"):
            buckets.read(text)
        elif not text.startswith("/"):
            raise ValueError
        return text

    return read, "an absolute path, or s3://bucket/prefix?endpoint=https://…&region=…"


def document() -> Kind:
    """A JSON object, or a file with one: its text."""

    def read(text: str) -> str:
        if text.lstrip().startswith("{"):
            return text
        try:
            return Path(text).read_text(encoding="utf-8")
        except OSError:
            raise ValueError from None

    return read, "a JSON object, or the path of a file with one that can be read"


TEXT: Kind = (str, "a text")
#: A URL's text, checked; `ValueError` for what is none.
http_url = url("http", "https")[0]


def _checked(check: Callable[[str], Any]) -> Callable[[str], str]:
    """A text that `check` can read stays as it is."""

    def read(text: str) -> str:
        check(text)
        return text

    return read


def _within(read_number: Callable[[str], float], low: float, high: float) -> Callable[[str], float]:
    """What reads a number between the two, or one of them."""

    def read(text: str) -> float:
        value = read_number(text)
        if not low <= value <= high:
            raise ValueError
        return value

    return read
