"""The filter on system calls, run by a small machine as the kernel would."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from sojourn.executor_shim.sandbox.seccomp import (
    CLONE,
    CLONE3,
    IOCTL,
    NEWEST,
    PERSONALITY,
    REFUSED,
    SOCKET,
    SOCKETPAIR,
    program,
)

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}
ALLOWED, KILLED = "allowed", "killed"
HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"#define __NR_(\w+) (\d+)"),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+) (\d+)"),
}


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None) -> str:
    """What the filter says of a call: allowed, killed, or the errno's name."""
    padded = (list(arguments) + [0] * 6)[:6]
    data = struct.pack("=IIQ6Q", number, arch or ARCHES[machine], 0, *padded)
    code = program(machine)
    accumulator, place = 0, 0
    while True:
        step, if_true, if_false, value = struct.unpack_from("=HBBI", code, place * 8)
        place += 1
        if step == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif step == 0x06:
            if value == 0x7FFF0000:
                return ALLOWED
            return KILLED if value == 0x80000000 else errno.errorcode[value & 0xFFFF]
        else:
            holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x45: bool(accumulator & value)}[step]
            place += if_true if holds else if_false


@pytest.mark.parametrize("machine", ARCHES)
def test_what_is_listed_is_refused_and_the_rest_is_not(machine: str) -> None:
    column = COLUMN[machine]
    refused = {numbers[column] for numbers in REFUSED.values()} - {None}
    special = {CLONE3[column], SOCKET[column], SOCKETPAIR[column]}
    for number in range(NEWEST + 1):
        if number in refused:
            assert verdict(machine, number) == "EPERM"
        elif number not in special:
            assert verdict(machine, number) == ALLOWED, number
    assert {verdict(machine, number) for number in (CLONE3[column], NEWEST + 1, 1000)} == {"ENOSYS"}


@pytest.mark.parametrize("machine", ARCHES)
def test_calls_that_are_looked_at_by_an_argument(machine: str) -> None:
    column = COLUMN[machine]
    threads, fork = 0x3D0F00, 0x01200011
    assert verdict(machine, CLONE[column], threads) == verdict(machine, CLONE[column], fork) == ALLOWED
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, CLONE[column], fork | flag) == "EPERM"
    assert [verdict(machine, SOCKET[column], *of) for of in ((1, 1, 0), (2, 1, 6), (10, 2, 17), (2, 2, 1), (16, 3, 0))] == [
        ALLOWED
    ] * 5
    assert {verdict(machine, SOCKET[column], 16, 3, protocol) for protocol in (4, 9, 12, 15)} == {"EPROTONOSUPPORT"}
    assert {verdict(machine, SOCKET[column], 2, 1, protocol) for protocol in (132, 33, 255)} == {"EPROTONOSUPPORT"}
    assert {verdict(machine, SOCKET[column], family, 3, 0) for family in (17, 38, 40, 44, 31, 3)} == {"EAFNOSUPPORT"}
    assert verdict(machine, SOCKETPAIR[column], 1, 1, 0) == ALLOWED
    assert {verdict(machine, SOCKETPAIR[column], family, 1, 0) for family in (0, 2, 16, 30, 38, 40)} == {"EAFNOSUPPORT"}
    assert verdict(machine, IOCTL[column], 0, 0x5401) == ALLOWED
    assert {verdict(machine, IOCTL[column], 0, request) for request in (0x5412, 0x541C)} == {"EPERM"}
    assert [verdict(machine, PERSONALITY[column], what) for what in (0, 0xFFFFFFFF, 0x40000)] == [ALLOWED, ALLOWED, "EPERM"]


def test_another_architectures_numbers_are_the_end() -> None:
    assert verdict("x86_64", 20, arch=0x40000003) == verdict("aarch64", 20, arch=0x40000028) == KILLED
    assert verdict("x86_64", 0x40000000 | 20) == KILLED
    with pytest.raises(OSError):
        program("mips")


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    path, pattern = HEADERS[machine]
    if not path.exists():
        pytest.skip("no kernel headers")
    known = {name: int(number) for name, number in re.findall(pattern, path.read_text())}
    told = {**REFUSED, "clone": CLONE, "clone3": CLONE3, "socket": SOCKET, "socketpair": SOCKETPAIR, "ioctl": IOCTL,
            "personality": PERSONALITY}  # fmt: skip
    ours = {name: numbers[COLUMN[machine]] for name, numbers in told.items()}
    assert {name: known.get(name, number) for name, number in ours.items()} == ours
