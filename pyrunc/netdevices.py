"""linux.netDevices: interfaces of the host that move into the container's network namespace.

May touch: the interfaces that the spec names, through rtnetlink sockets here and there.
OCI runtime-spec 1.3, config-linux.md "Network Devices".

An interface that moves keeps its link-layer address, its MTU and so on, but the kernel removes its
IP addresses and brings it down; we add them again and bring it up.  When the container's namespace
ends, the kernel gives hardware back to the host and destroys virtual interfaces.
"""

import os

from pyrunc._core import lib
from pyrunc.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Doc = dict[str, Any]

# linux/netlink.h, linux/rtnetlink.h
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
NLM_F_DUMP = 0x300
# linux/if_link.h, linux/if_addr.h, linux/if.h
IFLA_IFNAME, IFLA_NET_NS_FD = 3, 28
IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS = 3, 6, 8
IFA_F_PERMANENT = 0x80
# Nodad, home address, manage temporary addresses, no prefix route, join multicast groups.  These
# can be asked for; the other flags are what the kernel says about an address.
IFA_F_WISHES = 0x02 | 0x10 | 0x100 | 0x200 | 0x400
RT_SCOPE_UNIVERSE = 0
IFF_UP = 1
AF_UNSPEC = 0


class Device:
    """An interface as it was on the host.

    index: its number in the namespace where it is now.  addresses: see address().
    """

    __slots__ = ("addresses", "index", "name", "up")

    def __init__(self, name: str, index: int, up: bool) -> None:
        self.name = name
        self.index = index
        self.up = up
        self.addresses: "list[bytes]" = []


class Move:
    """Interfaces on their way into the network namespace of process `pid`."""

    __slots__ = ("here", "moved", "place", "there")

    def __init__(self, pid: int) -> None:
        self.here = self.there = self.place = -1
        self.moved: "list[Device]" = []
        try:
            self.place = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            self.here = _socket(-1)
            self.there = _socket(self.place)
        except OSError as err:
            self.close()
            why = reason(err)
            raise Error(f"unable to open the container's network namespace: {why}") from err

    def close(self) -> None:
        """Close the sockets: an open one would keep the namespace, and so the interfaces."""
        for fd in (self.here, self.there, self.place):
            if fd >= 0:
                os.close(fd)
        self.here = self.there = self.place = -1

    def move(self, devices: "Doc") -> None:
        """Move all, in the order of linux.netDevices.  After an Error call undo()."""
        for name, options in devices.items():
            try:
                self._move(name, options.get("name", ""))
            except OSError as err:
                why = reason(err)
                raise Error(f'unable to move network device "{name}": {why}') from err

    def _move(self, name: str, wanted: str) -> None:
        device = find(self.here, name)
        if device is None:
            raise Error(f'unable to move network device "{name}": there is no such device')
        wanted = wanted or device.name
        before = links(self.there)
        if wanted in before.values():
            raise Error(
                f'unable to move network device "{name}": '
                f'the container has a network device "{wanted}" already'
            )
        target = attribute(IFLA_NET_NS_FD, self.place.to_bytes(4, "little"))
        try:
            ask(self.here, RTM_NEWLINK, link(device.index) + target + _name(wanted))
        finally:
            # The name is given after the move: if that fails, the interface is there all the same.
            new = links(self.there).keys() - before.keys()
            if len(new) == 1 and find(self.here, name) is None:
                device.index = new.pop()
                self.moved.append(device)
        _revive(self.there, device, up=True)

    def undo(self) -> None:
        """Move all back, and restore them.  All are tried; then the first failure is an Error."""
        failed = ""
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        target = attribute(IFLA_NET_NS_FD, home.to_bytes(4, "little"))
        while self.moved:
            device = self.moved.pop()
            try:
                ask(self.there, RTM_NEWLINK, link(device.index) + target + _name(device.name))
                back = find(self.here, device.name)
                if back:
                    device.index = back.index
                    _revive(self.here, device, device.up)
            except OSError as err:
                failed = failed or f"network device {device.name}: {reason(err)}"
        os.close(home)
        self.close()
        if failed:
            raise Error(failed)


def check(devices: "Doc") -> None:
    """Refuse names that no interface can have, and two interfaces that want the same one."""
    seen = set()
    for name, options in devices.items():
        wanted = options.get("name") or name
        for text in (name, wanted):
            if not _is_name(text):
                raise Error(f'invalid network device name "{text}" in linux.netDevices')
        if wanted in seen and "%" not in wanted:
            raise Error(f'linux.netDevices has two network devices for the name "{wanted}"')
        seen.add(wanted)


def _is_name(text: str) -> bool:
    """What the kernel takes; a template has one `%d`, at its end."""
    data = text.encode("utf-8", "surrogateescape")
    if not 0 < len(data) < 16 or text in (".", ".."):
        return False
    if any(char in "/:\0" or char.isspace() for char in text):
        return False
    return "%" not in text or text.find("%") == len(text) - 2 and text.endswith("%d")


def find(sock: int, name: str) -> "Device | None":
    """The interface of that name, with the addresses to restore; None if there is none."""
    try:
        answer = ask(sock, RTM_GETLINK, link(0) + _name(name))
    except OSError as err:
        if err.errno == 19:  # ENODEV
            return None
        raise
    body = answer[0]
    index = int.from_bytes(body[4:8], "little")
    device = Device(_name_in(body), index, bool(body[8] & IFF_UP))
    for body in ask(sock, RTM_GETADDR, bytes(8), dump=True):
        if int.from_bytes(body[4:8], "little") == index:
            kept = address(body)
            if kept:
                device.addresses.append(kept)
    return device


def links(sock: int) -> "dict[int, str]":
    """index -> name of every interface there."""
    found = {}
    for body in ask(sock, RTM_GETLINK, link(0), dump=True):
        found[int.from_bytes(body[4:8], "little")] = _name_in(body)
    return found


def _name_in(body: bytes) -> str:
    name = dict(attributes(body[16:])).get(IFLA_IFNAME, b"")
    return os.fsdecode(name.rstrip(b"\0"))


def address(body: bytes) -> bytes:
    """The body of a message that adds this address again; empty if it is not to be added.

    body: of the kernel's message about it.  Global, permanent addresses are added, without their
    label, which contains the old name.
    """
    # struct ifaddrmsg: family, prefix length, flags, scope, index
    known = dict(attributes(body[8:]))
    flags = int.from_bytes(known.get(IFA_FLAGS, body[2:3]), "little")
    if not flags & IFA_F_PERMANENT or body[3] != RT_SCOPE_UNIVERSE:
        return b""
    kept = body[:2] + bytes((0, body[3])) + body[4:8]
    for kind, value in known.items():
        if kind not in (IFA_LABEL, IFA_CACHEINFO, IFA_FLAGS):
            kept += attribute(kind, value)
    return kept + attribute(IFA_FLAGS, (flags & IFA_F_WISHES).to_bytes(4, "little"))


def _revive(sock: int, device: Device, up: bool) -> None:
    """Give an interface that was moved its addresses, and bring it up."""
    number = device.index.to_bytes(4, "little")
    for body in device.addresses:
        new = body[:4] + number + body[8:]
        ask(sock, RTM_NEWADDR, new, NLM_F_CREATE | NLM_F_EXCL)
    if up:
        ask(sock, RTM_NEWLINK, link(device.index, IFF_UP))


# --- rtnetlink ---


def _socket(namespace: int) -> int:
    fd: int = lib.core_netlink(namespace)
    if fd < 0:
        raise OSError(-fd, "netlink")
    return fd


def link(index: int, flags: int = 0) -> bytes:
    """struct ifinfomsg: family, type, index, flags to set, which of them to change."""
    numbers = (AF_UNSPEC, index, flags, flags)
    return b"".join([number.to_bytes(4, "little") for number in numbers])


def attribute(kind: int, value: bytes) -> bytes:
    """struct rtattr with its value, padded."""
    size = 4 + len(value)
    head = size.to_bytes(2, "little") + kind.to_bytes(2, "little")
    return head + value + bytes(-size % 4)


def _name(text: str) -> bytes:
    return attribute(IFLA_IFNAME, os.fsencode(text) + b"\0")


def attributes(data: bytes) -> "list[tuple[int, bytes]]":
    """(type, value) of the attributes at the end of a message."""
    found = []
    while len(data) >= 4:
        size = int.from_bytes(data[:2], "little")
        if size < 4:
            break
        found.append((int.from_bytes(data[2:4], "little") & 0x3FFF, data[4:size]))
        data = data[size + 3 & ~3 :]
    return found


def ask(sock: int, kind: int, body: bytes, flags: int = 0, dump: bool = False) -> "list[bytes]":
    """Send a request.  Returns the bodies of the answers; OSError if the kernel refuses.

    kind: RTM_*.  body: after struct nlmsghdr.  dump: ask for all objects of that kind.
    """
    flags |= NLM_F_REQUEST | (NLM_F_DUMP if dump else NLM_F_ACK)
    size = 16 + len(body)
    head = size.to_bytes(4, "little") + kind.to_bytes(2, "little") + flags.to_bytes(2, "little")
    os.write(sock, head + bytes(8) + body)
    found: "list[bytes]" = []
    while True:
        data = os.read(sock, 1 << 18)
        while len(data) >= 16:
            size = int.from_bytes(data[:4], "little")
            kind = int.from_bytes(data[4:6], "little")
            body = data[16:size]
            data = data[size + 3 & ~3 :]
            if kind in (NLMSG_ERROR, NLMSG_DONE):  # both begin with -errno
                number = -int.from_bytes(body[:4], "little", signed=True)
                if number:
                    raise OSError(number, os.strerror(number))
                return found
            found.append(body)
