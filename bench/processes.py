"""What the kernel knows of a process: children, sockets, CPU time, memory.

Nothing here needs the process's help, so what is measured stays as it is.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_PIDFD_GETFD = 438
"""Number of the system call, the same on every architecture."""
_KIB_IN_MIB = 1024

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MiB; ``pss`` shares common pages out among processes."""

    rss: float
    pss: float


def children(pid: int) -> tuple[int, ...]:
    """Return the ids of a process's children; none if it is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return ()
    return tuple(int(child) for child in text.split())


def arguments(pid: int) -> tuple[str, ...]:
    """Return the command line of a process; empty if it is gone."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
    except OSError:
        return ()
    return tuple(text.split("\0"))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time, user and system, that a process's threads have used."""
    nanoseconds = 0
    for schedule in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        # Finer than utime and stime, which count hundredths of a second.
        nanoseconds += int(schedule.read_text().split()[0])
    return nanoseconds / 1e9


def memory(pid: int) -> Memory:
    """Return the resident memory of a process."""
    found: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) / _KIB_IN_MIB
    return Memory(rss=found["Rss"], pss=found["Pss"])


def sockets(pid: int) -> frozenset[str]:
    """Return the kernel's names of a process's open sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # closed meanwhile
            continue
        if target.startswith("socket:"):
            found.add(target)
    return frozenset(found)


def cut_connections(pid: int) -> int:
    """Shut every TCP connection of a process down; return how many there were.

    Both ends see an end of file, as when the network goes away. Listening sockets
    stay.

    Raises:
        OSError: the kernel does not let this process at the other's descriptors.
    """
    count = 0
    with _pidfd(pid) as process:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                is_socket = str(entry.readlink()).startswith("socket:")
            except OSError:  # closed meanwhile
                continue
            if is_socket and _cut(process, int(entry.name)):
                count += 1
    return count


@contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _cut(process: int, descriptor: int) -> bool:
    """Shut one socket of another process down, if it is a TCP connection."""
    copied = _libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
    if copied < 0:
        code = ctypes.get_errno()
        if code == errno.EBADF:  # closed meanwhile
            return False
        raise OSError(code, "cannot copy another process's descriptor")
    with closing(socket.socket(fileno=copied)) as other:
        is_tcp = other.family in {socket.AF_INET, socket.AF_INET6}
        if not is_tcp or other.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        try:
            other.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            return False  # its other end was cut before
        return True
