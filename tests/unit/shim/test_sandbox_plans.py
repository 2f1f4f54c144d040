"""What a sandbox is to be, decided before anything is made."""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from sojourn.executor_shim.sandbox import slots
from sojourn.executor_shim.sandbox.cgroup import Place, places
from sojourn.executor_shim.sandbox.mounts import planned
from sojourn.executor_shim.sandbox.network import rules, wire
from sojourn.executor_shim.sandbox.options import BadOption, Options, Target, api_target, target
from sojourn.executor_shim.sandbox.relay import NAMED, RESOLVER, Line, lines
from sojourn.executor_shim.sandbox.report import NAMES, judge


@pytest.mark.parametrize(
    "given",
    [
        "sometimes",
        {"network": "open"},
        {"uid": 0},
        {"pids": "many"},
        {"pids": True},
        {"readable": ["relative"]},
        {"readable": ["/a/../etc"]},
        {"writable": ["/"]},
        {"writable": ["/proc/"]},
        {"allow": ["10.0.0.1/8"]},
        {"deny": ["::/0"]},
        {"forward": ["5432"]},
        {"forward": ["host:0"]},
        {"pool": "198.18.0.0/24", "slots": 65},
    ],
)
def test_options_that_cannot_be_used_are_refused(given: Any) -> None:
    with pytest.raises(BadOption):
        Options.read(given)


def test_options_are_a_mode_or_what_differs() -> None:
    assert Options.read("required") == Options(mode="required")
    read = Options.read({"mode": "auto", "allow": ["10.1.0.0/16"], "invented_later": 1})
    assert read == Options(allow=("10.1.0.0/16",))


def test_addresses() -> None:
    assert api_target("http://127.0.0.1:3030") == Target("127.0.0.1", 3030)
    assert api_target("https://sojourn.example/prefix") == Target("sojourn.example", 443)
    assert api_target("http://Sojourn.example") == Target("sojourn.example", 80)
    assert api_target("http://[fd00::1]:8080/x:1") == Target("fd00::1", 8080)
    assert api_target("https://[fd00::1]") == Target("fd00::1", 443)
    assert (target("db:5432"), target("[::1]:80")) == (Target("db", 5432), Target("::1", 80))


def test_mounts_come_after_what_they_lie_in() -> None:
    code = ("/tmp/venv", "/srv/versions/abc", "/usr/lib/python3", "/srv/versions/abc/lib")
    made = planned(code, ("/opt/models",), ("/mnt/shared",), (1 << 20, 1 << 20), {"/etc/hosts": "x"})
    paths = [each.path for each in made]
    assert paths.index("/tmp") < paths.index("/tmp/venv") and paths.index("/dev/pts") < len(paths)
    assert len(paths) == len(set(paths))
    assert "/srv/versions/abc/lib" not in paths and "/usr/lib/python3" not in paths
    writable = {each.path for each in made if each.is_writable}
    assert {path for path in writable if not path.startswith("/dev/")} == {"/tmp", "/mnt/shared", "/run"}
    assert next(each for each in made if each.path == "/run").text.startswith("mode=711")  # criu's, not the user's
    assert not {"/etc", "/var", "/home", "/root", "/sys"} & set(paths)


def test_the_longest_prefix_wins() -> None:
    made = rules(Options.read({"allow": ["10.1.0.0/16"], "deny": ["10.1.2.3/32", "203.0.113.0/24"]}))
    order = [line.split()[2] for line in made.text.splitlines() if "ip daddr" in line]
    assert order.index("10.1.2.3/32") < order.index("10.1.0.0/16") < order.index("10.0.0.0/8")
    assert {"169.254.0.0/16", "127.0.0.0/8", "203.0.113.0/24", "192.168.0.0/16"} <= set(order)
    assert made.table in made.text and made.table != rules(Options()).table


def test_every_slot_has_addresses_and_a_name_of_its_own() -> None:
    options, made = Options(), rules(Options())
    wires = [wire(made, options.pool, slot) for slot in range(options.slots)]
    assert len({each.address for each in wires} | {each.gateway for each in wires}) == 2 * options.slots
    assert max(len(each.name) for each in wires) <= 15
    assert all(IPv4Network(f"{each.address}/30", strict=False).num_addresses == 4 for each in wires)


def test_what_is_relayed() -> None:
    made = lines(Target("api.example", 443), (Target("db", 5432), Target("127.0.0.1", 443)), ("192.0.2.53",))
    to = (Target("192.0.2.53", 53),)
    assert set(made) == {
        Line("tcp", NAMED, 443, (Target("api.example", 443),)),
        Line("tcp", "127.0.0.1", 5432, (Target("db", 5432),)),
        Line("tcp", "127.0.0.1", 443, (Target("127.0.0.1", 443),)),
        Line("udp", RESOLVER, 53, to),
        Line("tcp", RESOLVER, 53, to),
    }
    assert lines(Target("127.0.0.1", 3030), (Target("x", 3030),), ()) == [
        Line("tcp", "127.0.0.1", 3030, (Target("127.0.0.1", 3030),))
    ]


V1 = """30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
32 25 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""
V2 = "30 25 0:26 /nomad /sys/fs/cgroup rw,relatime shared:1 - cgroup2 cgroup2 rw"


def test_where_groups_may_be_made() -> None:
    assert places("8:pids:/\n4:memory:/a/b\n1:cpu:/\n0::/x", V1) == [
        Place(1, ("pids",), "/sys/fs/cgroup/pids"),
        Place(1, ("memory",), "/sys/fs/cgroup/memory/a/b"),
        Place(2, (), "/sys/fs/cgroup/unified/x"),
    ]
    assert places("0::/nomad/task", V2) == [Place(2, (), "/sys/fs/cgroup/task")]
    assert places("0::/elsewhere", V2) == []


def test_a_report_says_what_does_not_hold() -> None:
    told = {
        "CapEff": "0" * 16, "CapPrm": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2", "uid": 2013265920,
        "pid": 20_001, "processes": ["20001"], "seen": [], "interfaces": ["lo", "eth0"], "write": 30,
    }  # fmt: skip
    good = judge(Options(), told, {})
    assert tuple(each.name for each in good.properties) == NAMES and all(each.holds for each in good.properties)
    bad = judge(Options(network="host"), told | {"Seccomp": "0", "seen": ["/home"]}, {"memory": "no such controller here"})
    lacking = {each.name for each in bad.properties if not each.holds}
    assert lacking == {"system calls", "files", "memory", "network"}
    assert "100 ms" in bad.as_text() and "systemd-run" in bad.as_text()
    assert bad.as_json()["properties"][0] == {
        "name": "namespaces",
        "holds": True,
        "why": bad.properties[0].why,
        "change": "",
    }


def test_groups_of_two_nodes_on_one_kernel_are_not_the_same(tmp_path: Path) -> None:
    """Both have a slot of number 0; a slot's group is the same again when it is taken again."""
    names = []
    for run_dir in (tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        _, locks = slots.take(str(run_dir), 4)
        os.close(locks[1])
        lock = os.open(run_dir / "slots" / "0", os.O_RDWR)  # others on this machine may hold the number 0 meanwhile
        names.append(slots.group_name(0, lock))
        os.close(lock)
        os.close(locks[0])
    assert names[0] == names[2] != names[1]
    assert all(name.startswith("sojourn-0-") for name in names)
