"""The zygote: imports engines once, and forks a worker for each job.

It is a program of its own, started by the data process when the first job needs it:
nothing of the data process's memory, no key and no link, is in it or in its workers.
It has one thread, for two reasons: a fork copies one thread only, and the kernel ends
a worker with the thread that forked it.

Orders and reports are packets of msgpack on the socket that its argument names:

    load   engine                        import what the engine needs
    spawn  id engine memory peers        with descriptors: control, one a peer
    kill   id                            end that worker, if it still runs
    ended  id status                     (report) it was reaped; negative: by a signal
"""

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from participant.engines.base import Engine
from participant.engines.registry import engine, is_plugin
from participant.engines.worker import child, confinement
from participant.engines.worker.messages import (
    MAX_DESCRIPTORS,
    MAX_PACKET_BYTES,
    Answer,
    bounded,
    encode_answer,
    framed,
)
from shared import codec
from shared.errors import FailureCode, FrameworkError, LocalProtocolError

USAGE_EXIT: Final = 2
NOT_FORKED: Final = 1
"""Status that is reported of a worker that never ran."""
_TASKS: Final = Path("/proc/self/task")
_SPOILT: Final = 255


@dataclass(frozen=True, slots=True)
class _Worker:
    """``pidfd``: becomes readable when the process ends."""

    id: int
    pid: int
    pidfd: int


class Zygote:
    """Carries out the data process's orders until that ends.

    Args:
        orders: the socket to the data process.
    """

    def __init__(self, orders: socket.socket) -> None:
        self._orders = orders
        self._workers: dict[int, _Worker] = {}
        self._engines: dict[str, Engine | str] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(orders, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the data process is gone; then no worker is left.

        Raises:
            FrameworkError: an order makes no sense: a bug.
        """
        try:
            while True:
                for key, _ in self._selector.select():
                    if isinstance(key.data, _Worker):
                        self._reap(key.data)
                    elif not self._obey():
                        return
        finally:
            for worker in self._workers.values():
                os.kill(worker.pid, signal.SIGKILL)
            for worker in self._workers.values():
                os.waitpid(worker.pid, 0)

    def _obey(self) -> bool:
        """Carry out one order; say whether there may be more."""
        try:
            packet, descriptors, _, _ = socket.recv_fds(
                self._orders, MAX_PACKET_BYTES, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return False
        if not packet:
            return False
        channels = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        try:
            order = codec.decode_map(packet)
            match order:
                case {"op": "load", "engine": str(name)}:
                    self._engine(name)
                case {"op": "kill", "id": int(number)}:
                    self._kill(number)
                case {
                    "op": "spawn",
                    "id": int(number),
                    "engine": str(name),
                    "memory": int(memory),
                    "peers": list(peers),
                } if len(channels) == 1 + len(peers):
                    control, *rest = channels
                    numbers = [peer for peer in peers if isinstance(peer, int)]
                    links = dict(zip(numbers, rest, strict=True))
                    self._spawn(number, name, memory, control, links)
                case _:
                    raise LocalProtocolError("not an order for the zygote")
        finally:
            for channel in channels:
                channel.close()
        return True

    def _spawn(
        self,
        number: int,
        name: str,
        memory_bytes: int,
        control: socket.socket,
        peers: Mapping[int, socket.socket],
    ) -> None:
        made = self._engine(name)
        if isinstance(made, str):
            self._refuse(number, control, made)
            return
        own = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            self._refuse(number, control, f"no process for it ({error.strerror})")
            return
        if pid == 0:
            child.live(made, own, memory_bytes, control, peers)
        worker = _Worker(number, pid, os.pidfd_open(pid))
        self._workers[number] = worker
        self._selector.register(worker.pidfd, selectors.EVENT_READ, worker)

    def _engine(self, name: str) -> Engine | str:
        """Return an engine whose modules are imported, or why there is none."""
        if name not in self._engines:
            self._engines[name] = _load(name)
        return self._engines[name]

    def _kill(self, number: int) -> None:
        """End a worker; its process id is its own until it is reaped here."""
        worker = self._workers.get(number)
        if worker is not None:
            os.kill(worker.pid, signal.SIGKILL)

    def _reap(self, worker: _Worker) -> None:
        _, status = os.waitpid(worker.pid, 0)
        self._selector.unregister(worker.pidfd)
        os.close(worker.pidfd)
        del self._workers[worker.id]
        self._report(worker.id, os.waitstatus_to_exitcode(status))

    def _refuse(self, number: int, control: socket.socket, why: str) -> None:
        """Answer in the place of a worker that there cannot be."""
        answer = encode_answer(Answer(FailureCode.ENGINE, bounded(why)))
        with contextlib.suppress(OSError):  # the job is over already
            control.sendall(b"".join(framed([answer])))
        self._report(number, NOT_FORKED)

    def _report(self, number: int, status: int) -> None:
        with contextlib.suppress(ConnectionError):  # the next read says so too
            self._orders.sendall(
                codec.encode({"op": "ended", "id": number, "status": status})
            )


def _load(name: str) -> Engine | str:
    """Return an engine with what it preloads, or why it cannot be had."""
    if is_plugin(name) and not _is_harmless(name):
        return "its modules start threads or crash when they are imported"
    try:
        found = _imported(name)
    except FrameworkError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever a module raises on import
        return f"its modules cannot be imported ({type(error).__name__})"
    gc.freeze()  # workers share these pages for longer
    return found


def _imported(name: str) -> Engine:
    found = engine(name)
    for module in found.preload:
        importlib.import_module(module)
    return found


def _is_harmless(name: str) -> bool:
    """Say whether importing an engine leaves a process that can be forked.

    Tried in a process of its own, so that one plugin cannot spoil the others' zygote.
    An error on import does no harm.
    """
    pid = os.fork()
    if pid == 0:
        try:
            with contextlib.suppress(Exception):
                _imported(name)
            os._exit(len(list(_TASKS.iterdir())) - 1)
        finally:  # whatever was raised: the zygote's code must not run on here
            os._exit(_SPOILT)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def main(arguments: Sequence[str]) -> int:
    """Run a zygote and return its exit code."""
    if len(arguments) != 2 or not all(word.isdecimal() for word in arguments):  # noqa: PLR2004 - FD and PARENT
        sys.stderr.write("usage: python -m participant.engines.worker.zygote FD PID\n")
        return USAGE_EXIT
    descriptor, parent = map(int, arguments)
    confinement.die_with_parent(parent)
    confinement.leave_signals_to_the_parent()
    confinement.without_core_dumps()
    os.umask(0o077)
    Zygote(socket.socket(fileno=descriptor)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
