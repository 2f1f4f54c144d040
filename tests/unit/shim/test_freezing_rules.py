"""The pure parts of freezing: criu's messages, its log, what a thawed thread may be."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.executor_shim.freezing import identity, log, profile, protobuf

STATUS = """Name:\tpython
State:\tT (stopped)
Pid:\t17
Uid:\t5\t5\t5\t5
Gid:\t5\t5\t5\t5
Groups:\t
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t1
"""


def varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


NUMBERS = st.integers(0, 2**64 - 1)
FIELDS = st.lists(st.tuples(st.integers(1, 30), NUMBERS | st.binary(max_size=40)), max_size=20)


@given(FIELDS)
def test_a_message_without_rules_stays_as_it_is(fields: list[tuple[int, int | bytes]]) -> None:
    message = b"".join(field(*each) for each in fields)
    assert protobuf.rewritten(message, {}) == message


@given(FIELDS, st.integers(1, 30), st.integers(0, 2**64 - 1))
def test_a_rule_changes_its_field_alone(fields: list[tuple[int, int | bytes]], number: int, to: int) -> None:
    fields = [each for each in fields if each[0] != number or isinstance(each[1], int)]
    message = b"".join(field(*each) for each in fields)
    expected = b"".join(field(each, to if each == number else value) for each, value in fields)
    assert protobuf.rewritten(message, {number: lambda _: to}) == expected
    assert protobuf.numbers(message, number) == [value for each, value in fields if each == number]


def test_rules_reach_into_messages_and_packed_numbers() -> None:
    inner = field(1, 7) + field(2, varint(7) + varint(300) + varint(7))
    message = field(3, inner) + field(3, field(1, 9)) + field(4, 7)
    double = {3: {1: lambda value: value * 2, 2: lambda value: value * 2}}
    changed = (
        field(3, field(1, 14) + field(2, varint(14) + varint(600) + varint(14))) + field(3, field(1, 18)) + field(4, 7)
    )
    assert protobuf.rewritten(message, double) == changed


def test_a_file_is_rewritten_message_by_message() -> None:
    one, two = field(1, 5), field(1, 70_000)
    frames = [struct.pack("<I", len(each)) + each for each in (one, two)]
    data = b"magicmag" + b"".join(frames)
    assert list(protobuf.messages(data)) == [one, two]
    swapped = protobuf.rewritten_file(data, {1: lambda value: 70_000 if value == 5 else value})
    assert list(protobuf.messages(swapped)) == [two, two]
    raw = b"magicmag" + frames[0] + b"raw bytes, no messages"
    assert protobuf.rewritten_file(raw, {1: lambda _: 5}, only_first=True) == raw


@pytest.mark.parametrize(
    "data", [b"magicmag\x01", b"magicmag\x09\0\0\0ab", b"magicmag\x02\0\0\0\x08\x80", b"magicmag\x02\0\0\0\x0a\x05"]
)
def test_what_is_cut_off_is_malformed(data: bytes) -> None:
    with pytest.raises(protobuf.Malformed):
        protobuf.rewritten_file(data, {2: lambda value: value})


def test_the_reason_is_criu_s_first_error() -> None:
    text = (
        "Error (criu/tun.c:85): tun: Unable to create tun: No such file or directory\n"
        "Warn  (criu/kerndat.c:1637): CRIU was built without libnftables support\n"
        "Error (criu/util.c:1533): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted\n"
        "Error (criu/sk-unix.c:1): unix: Can't dump half of stream unix connection\n"
        "Error (criu/cr-dump.c:2): Dumping FAILED.\n"
    )
    assert log.reason(text) == "unix: Can't dump half of stream unix connection"
    assert log.reason("") == "it said nothing"
    assert log.reason("Warn (x): something\n\n") == "Warn (x): something"
    outside = log.reason("Error (criu/sk-unix.c:494): unix: Unix socket 31415 without peer 27182\n")
    assert outside.startswith("it has a UNIX socket to a process outside of its sandbox")
    device = log.reason("Error (criu/files-ext.c:98): Can't dump file 5 of that type [20666] (chr 195:0)\n")
    assert device == "it has the device 195:0 open, which cannot be kept: open it after the wait"
    assert "criu 4.2" in log.reason("Error (criu/sockets.c:628): sockets: Can't get 1:16 opt: Operation not supported\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("Uid:\t5\t5\t5\t5", "Uid:\t5\t0\t5\t5", "Uid"),
        ("Gid:\t5\t5\t5\t5", "Gid:\t0\t0\t0\t0", "Gid"),
        ("Groups:\t", "Groups:\t0 4", "groups"),
        ("CapEff:\t0000000000000000", "CapEff:\t0000000000000001", "CapEff"),
        ("CapAmb:\t0000000000000000", "", "CapAmb"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "no_new_privs"),
        ("Seccomp:\t2", "Seccomp:\t0", "filter"),
    ],
)
def test_a_thread_that_is_more_than_it_may_be(old: str, new: str, told: str) -> None:
    assert profile.judge(STATUS, 5) is None
    found = profile.judge(STATUS.replace(old, new), 5)
    assert found is not None
    assert told in found


def test_a_thread_that_has_ended_is_nobody() -> None:
    assert profile.judge(STATUS.replace("T (stopped)", "Z (zombie)").replace("5\t5", "0\t0"), 5) is None


def test_numbers_of_a_frozen_tree_leave_room_for_criu() -> None:
    assert identity.room({20_001, 24_002}, 32_768) == 24_002
    assert identity.room({20_001, 32_760}, 32_768) == 300
    assert identity.room({301, 310, 400, 32_760}, 32_768) == 310


def test_most_frozen_trees_fit_into_a_sandbox_that_was_made_before_they_were_known() -> None:
    assert identity.room({20_001, 20_002}, 32_768) == identity.room(set(), 32_768)
    assert identity.room({301, 20_001}, 4_194_304) == identity.room(set(), 4_194_304)
    assert identity.room(set(), 4_096) == identity.room({301}, 4_096) - 1
