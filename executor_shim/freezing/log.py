"""Why criu refused, in one line, out of its log. Pure."""

from __future__ import annotations

import re

_ERROR = re.compile(r"Error \([^)]*\): (.*)")
#: What criu calls errors and goes on after: it looks for what a sandbox has not.
_HARMLESS = ("tun: Unable to create tun", "Can't setup RLIMIT_NOFILE for self", "cgroupd: recv req error")
_OUTSIDE = "it has a UNIX socket to a process outside of its sandbox, which cannot be kept: connect to that by TCP"
#: Words of criu's, and what they mean here.
_MEANT = {
    "Can't get 1:16 opt": "it is too old for this kernel's sockets: criu 4.2 or later, or the one that `make criu` builds",
    "Can't get 1:34 opt": "it is too old for this kernel's sockets: criu 4.2 or later, or the one that `make criu` builds",
    "without peer": _OUTSIDE,
    "External socket is used": _OUTSIDE,
    "SysVIPC shmem map": "System V shared memory cannot be kept: use multiprocessing's",
}
_DEVICE = re.compile(r"Can't dump file \d+ of that type \[\d+\] \((?:chr|blk) (\d+:\d+)\)")
_LONGEST = 300


def reason(log: str) -> str:
    """The first thing that criu calls an error and that is one: what follows it follows from it."""
    errors = [found.strip() for found in _ERROR.findall(log) if not any(each in found for each in _HARMLESS)]
    text = errors[0] if errors else next((line for line in reversed(log.splitlines()) if line.strip()), "")
    meant = next((meaning for words, meaning in _MEANT.items() if words in text), text)
    if device := _DEVICE.search(text):
        meant = f"it has the device {device[1]} open, which cannot be kept: open it after the wait"
    return " ".join(meant.split())[:_LONGEST] or "it said nothing"
