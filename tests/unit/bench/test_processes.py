"""What is read of a process is true of one that is known: this one."""

import os
import socket
import subprocess
import sys
import time
from contextlib import closing

from bench import processes


def test_cpu_time_grows_with_work() -> None:
    """The manager's cost of a job is the difference of two readings."""
    before = processes.cpu_seconds(os.getpid())
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass

    assert processes.cpu_seconds(os.getpid()) >= before + 0.03


def test_own_memory_is_read() -> None:
    """Shared pages count less than once, so PSS is never above RSS."""
    found = processes.memory(os.getpid())

    assert 1 < found.pss <= found.rss


def test_sockets_are_those_that_are_open() -> None:
    """A link that a job opened or lost shows in the difference."""
    before = processes.sockets(os.getpid())
    with closing(socket.socket()):
        during = processes.sockets(os.getpid())

    assert len(during - before) == 1
    assert processes.sockets(os.getpid()) == before


def test_process_that_is_gone_has_no_children_and_no_arguments() -> None:
    """A worker may end between being listed and being looked at."""
    gone = 1 << 22  # beyond the largest process id

    assert processes.children(gone) == ()
    assert processes.arguments(gone) == ()


def test_connections_of_a_process_are_cut_and_listening_goes_on() -> None:
    """A job after it finds every link gone, and can open new ones."""
    script = (
        "import socket\n"
        "listening = socket.create_server(('127.0.0.1', 0))\n"
        "print(listening.getsockname()[1], flush=True)\n"
        "first, _ = listening.accept()\n"
        "print(first.recv(1), flush=True)\n"
        "second, _ = listening.accept()\n"
        "print(second.recv(1), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    )
    with process, closing(process.stdout or sys.stdin) as said:
        address = ("127.0.0.1", int(said.readline()))
        with closing(socket.create_connection(address)) as client:
            cut = 0
            while not cut:  # until it has accepted
                cut = processes.cut_connections(process.pid)
            ends = (client.recv(1), said.readline())
        with closing(socket.create_connection(address)) as client:
            client.sendall(b"x")
            after = said.readline()

    assert cut == 1
    assert ends == (b"", "b''\n")
    assert after == "b'x'\n"
