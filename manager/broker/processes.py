"""Processes that outlive the one that started them, known by pid and a mark.

A pid alone proves nothing: numbers are used again. A node carries a random mark
among its arguments, and a process counts as that node only if it shows it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

_POLL_SECONDS = 0.05
_KILL_PATIENCE = timedelta(seconds=10)
_ENDED_STATES = frozenset("ZXx")

# The shell leaves at once, so the program belongs to init and leaves no zombie here.
_DETACH = 'log=$1; shift; "$@" </dev/null >>"$log" 2>&1 & echo $!'


def spawn_detached(
    command: list[str], environment: Mapping[str, str], folder: Path, log: Path
) -> int:
    """Start a program in a session of its own and return its pid.

    Args:
        command: the program (an absolute path) and its arguments.
        environment: all of it; nothing is inherited.
        folder: its working folder.
        log: what it prints is appended here.
    """
    done = subprocess.run(  # noqa: S603 - our own program, no shell text from outside
        ["/bin/sh", "-c", _DETACH, "detach", str(log), *command],
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        start_new_session=True,
        umask=0o077,
    )
    return int(done.stdout)


def arguments_of(pid: int) -> tuple[str, ...]:
    """Return a process' arguments; none for one that is gone or a zombie.

    None, too, for one that is just being replaced by another program (``execve``),
    so that this cannot tell whether a process is alive.
    """
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in content.split(b"\0") if part)


def is_alive(pid: int) -> bool:
    """Say whether the process runs (a zombie does not)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    # The state follows the name, which stands in brackets and may hold some.
    state = fields.rpartition(")")[2].split()[0]
    return state not in _ENDED_STATES


def wait_until_gone(pid: int, patience: timedelta) -> bool:
    """Wait for a process to end; say whether it did."""
    deadline = time.monotonic() + patience.total_seconds()
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def terminate(pid: int, patience: timedelta) -> bool:
    """Ask a process to end, and kill it when patience runs out.

    Returns:
        Whether it ended by itself.
    """
    _signal(pid, signal.SIGTERM)
    if wait_until_gone(pid, patience):
        return True
    _signal(pid, signal.SIGKILL)
    wait_until_gone(pid, _KILL_PATIENCE)
    return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
