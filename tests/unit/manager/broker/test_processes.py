"""Whether a process is alive, as the kernel sees it."""

import subprocess
from collections.abc import Iterator

import pytest

from manager.broker.processes import is_alive

REPLACEMENTS = 400
"""Each lasts some tens of microseconds, so that many fall between two looks."""
_REPLACE = f'[ "$1" -ge {REPLACEMENTS} ] || exec /bin/sh -c "$2" sh $(($1 + 1)) "$2"'


@pytest.fixture
def replacing() -> Iterator[subprocess.Popen[bytes]]:
    """A process that replaces its program many times, then ends."""
    command = ["/bin/sh", "-c", _REPLACE, "sh", "0", _REPLACE]
    with subprocess.Popen(command) as process:
        yield process


def test_a_process_that_replaces_its_program_is_alive(
    replacing: subprocess.Popen[bytes],
) -> None:
    """A start script becomes the node by `execve`, amid which it has no arguments."""
    while is_alive(replacing.pid):
        pass

    assert replacing.poll() == 0


def test_a_zombie_is_not_alive() -> None:
    """It has ended; only its parent has not asked yet."""
    with subprocess.Popen(["/bin/true"]) as process:
        while is_alive(process.pid):
            pass

        assert process.returncode is None


def test_a_process_that_was_collected_is_not_alive() -> None:
    """Its number belongs to nobody."""
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()

    assert not is_alive(process.pid)
