"""A bucket of an S3-compatible service, as a setting names it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
_PREFIX = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")


@dataclass(frozen=True, slots=True)
class Bucket:
    """`prefix` is empty or ends with a slash. `endpoint` and `region`: None for AWS's own, and the environment's."""

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None


def read(text: str) -> Bucket:
    """`s3://bucket/prefix?endpoint=…&region=…` taken apart. `ValueError` for another text: no credentials go in there."""
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    prefix, endpoint = parts.path.strip("/"), urlsplit(options.get("endpoint", "https://aws"))
    fits = (
        parts.scheme == "s3"
        and _NAME.fullmatch(parts.netloc)
        and not parts.fragment
        and (not prefix or _PREFIX.fullmatch(prefix))
        and not set(options) - {"endpoint", "region"}
        and endpoint.scheme in ("http", "https")
        and endpoint.hostname
        and "@" not in endpoint.netloc
    )
    if not fits:
        raise ValueError("it is not s3://bucket/prefix?endpoint=…&region=…")
    return Bucket(parts.netloc, f"{prefix}/" if prefix else "", options.get("endpoint"), options.get("region"))
