"""What a zygote and its workers give up before they touch an engine's code."""

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_STANDARD: Final = (0, 1, 2)
_OPEN: Final = Path("/proc/self/fd")


def die_with_parent(parent: int) -> None:
    """Let the kernel end this process as soon as its parent ends.

    Args:
        parent: the parent's process id as it was when this process was made.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def without_core_dumps() -> None:
    """Keep shares out of files: a crash leaves no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def leave_signals_to_the_parent() -> None:
    """Ignore what is sent to the whole group; every other signal does its default.

    Ctrl-C and a service manager's stop reach all processes at once. The control
    process decides what they mean.
    """
    for number in signal.valid_signals():
        if number in {signal.SIGKILL, signal.SIGSTOP}:
            continue
        if signal.getsignal(number) is None:  # the C library keeps it for itself
            continue
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def bound_memory(most_bytes: int) -> None:
    """Bound this process's address space; beyond it ``MemoryError`` is raised."""
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def keep_only(descriptors: Iterable[int]) -> None:
    """Close every file descriptor but these; standard ones lead nowhere.

    Nothing that an engine or its libraries print can carry a value away.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in _STANDARD:
        os.dup2(nowhere, standard)
    kept = {*_STANDARD, *descriptors}
    for descriptor in [int(entry.name) for entry in _OPEN.iterdir()]:
        if descriptor not in kept:
            with contextlib.suppress(OSError):  # the one that listed them
                os.close(descriptor)
