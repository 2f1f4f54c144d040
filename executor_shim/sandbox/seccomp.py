"""The filter on system calls as a program of the kernel's small machine. Pure.

It refuses rather than kills: a library that tries what it may not have gets the errno that it handles (EPERM; ENOSYS
for calls that have an older way; EAFNOSUPPORT and EPROTONOSUPPORT for sockets), and the run goes on. Only a call by another
architecture's numbers kills: nothing legitimate makes one, and its numbers would mean other calls than those filtered.
A list of what is refused, not of what is allowed: user code brings any library. What the list cannot know, calls that
are newer than it, are ENOSYS; and no call that needs a privilege works, since the process has none.
"""

from __future__ import annotations

import errno
import struct

#: AUDIT_ARCH of each machine, and the place of its numbers in the tables.
_ARCHES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
#: Calls by their number on x86_64 and on aarch64; None: it does not exist there.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # What is seen of the machine.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429),
    "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "fanotify_init": (300, 262),
    # Other processes.
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "pidfd_getfd": (438, 438),
    # Large parts of the kernel that tasks do without, and that had more holes than others.
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "modify_ldt": (154, None),
    # The machine itself.
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "create_module": (174, None),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None),
    "vhangup": (153, 58), "lookup_dcookie": (212, 18), "nfsservctl": (180, 42),
    # Long dead.
    "uselib": (134, None), "ustat": (136, None), "sysfs": (139, None), "_sysctl": (156, None),
    "get_kernel_syms": (177, None), "query_module": (178, None),
}  # fmt: skip
#: Calls that are looked at by an argument.
CLONE, CLONE3, SOCKET, IOCTL, PERSONALITY = (56, 220), (435, 435), (41, 198), (16, 29), (135, 92)
SOCKETPAIR = (53, 199)
#: The newest call that the list was made for (mseal).
NEWEST = 462
_X32 = 0x40000000
_NEW_NAMESPACES = 0x02000000 | 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
#: The usual one of a kind, ICMP for echoes, TCP, UDP, ICMPv6, and TCP over several paths: others would load modules.
_IP_PROTOCOLS = (0, 1, 6, 17, 58, 262)
#: Terminal ioctls that put words into somebody else's mouth.
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PER_LINUX, _PERSONALITY_ASKED = 0, 0xFFFFFFFF

_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
#: Offsets in the kernel's `struct seccomp_data`; of an argument, its lower half.
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16


def program(machine: str) -> bytes:
    """The filter for a machine as `os.uname` names it; `OSError` for one that it was not made for."""
    if machine not in _ARCHES:
        raise OSError(errno.ENOSYS, f"the filter on system calls does not know the machine {machine}")
    arch, column = _ARCHES[machine]
    code = [
        *_unless(_LOAD, _ARCH, _EQUAL, arch, _KILL_PROCESS),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":  # the other numbering of this architecture
        code += [_step(_GREATER, _X32 - 1, 0, 1), _step(_RETURN, _KILL_PROCESS)]
    code += [_step(_GREATER, NEWEST, 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    code += _for(CLONE3[column], [_step(_RETURN, _ERRNO | errno.ENOSYS)])
    code += _for(CLONE[column], _refuse_bits(0, _NEW_NAMESPACES, errno.EPERM))
    code += _for(SOCKET[column], _socket_rules())
    # The kernel makes the two sockets, and loads their family's module, before it finds that most have no pairs.
    code += _for(SOCKETPAIR[column], _allow_values(0, (_AF_UNIX,), errno.EAFNOSUPPORT))
    code += _for(IOCTL[column], _refuse_values(1, (_TIOCSTI, _TIOCLINUX), errno.EPERM))
    code += _for(PERSONALITY[column], _allow_values(0, (_PER_LINUX, _PERSONALITY_ASKED), errno.EPERM))
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            code += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ERRNO | errno.EPERM)]
    return b"".join([*code, _step(_RETURN, _ALLOW)])


def _socket_rules() -> list[bytes]:
    """UNIX and IP, and of netlink what tells a program of interfaces and routes; the rest does not exist."""
    nothing = _step(_RETURN, _ERRNO | errno.EAFNOSUPPORT)
    code = [_argument(0), _step(_EQUAL, _AF_UNIX, 0, 1), _step(_RETURN, _ALLOW)]
    for family, protocols in ((_AF_INET, _IP_PROTOCOLS), (_AF_INET6, _IP_PROTOCOLS), (_AF_NETLINK, (0,))):
        rules = [_argument(2)]
        for protocol in protocols:
            rules += [_step(_EQUAL, protocol, 0, 1), _step(_RETURN, _ALLOW)]
        rules += [_step(_RETURN, _ERRNO | errno.EPROTONOSUPPORT)]
        code += [_step(_EQUAL, family, 0, len(rules)), *rules]
    return [*code, nothing]


def _refuse_bits(argument: int, bits: int, number: int) -> list[bytes]:
    return [_argument(argument), _step(_ANY_BIT, bits, 0, 1), _step(_RETURN, _ERRNO | number), _step(_RETURN, _ALLOW)]


def _refuse_values(argument: int, values: tuple[int, ...], number: int) -> list[bytes]:
    code = [_argument(argument)]
    for value in values:
        code += [_step(_EQUAL, value, 0, 1), _step(_RETURN, _ERRNO | number)]
    return [*code, _step(_RETURN, _ALLOW)]


def _allow_values(argument: int, values: tuple[int, ...], number: int) -> list[bytes]:
    code = [_argument(argument)]
    for value in values:
        code += [_step(_EQUAL, value, 0, 1), _step(_RETURN, _ALLOW)]
    return [*code, _step(_RETURN, _ERRNO | number)]


def _for(number: int, rules: list[bytes]) -> list[bytes]:
    """Rules for one call; each of them returns. The number is still loaded for what follows."""
    return [_step(_EQUAL, number, 0, len(rules)), *rules]


def _unless(load: int, offset: int, test: int, value: int, verdict: int) -> list[bytes]:
    return [_step(load, offset), _step(test, value, 1, 0), _step(_RETURN, verdict)]


def _argument(index: int) -> bytes:
    return _step(_LOAD, _ARGUMENTS + 8 * index)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
