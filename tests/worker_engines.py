"""Engines that run in workers: one that is right, and some that are not.

``plugged_in`` installs them as a package does, for this process and its zygotes.
"""

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from participant.engines import registry
from participant.engines.additive import Additive
from participant.engines.base import Entropy, Plan, Values
from shared import codec
from shared.errors import FailureCode, JobAbortedError

BAD_PARTY = 1
"""The server at which an engine misbehaves."""
CANARY = "a value of 4711"


class Talking:
    """Adds up like ``additive``, but the servers tell each other their shares."""

    name = "talking"
    version = "1"
    in_worker = True
    preload: tuple[str, ...] = ("fractions",)

    def max_threshold(self, parties: int) -> int:
        """See ``Engine``."""
        return parties - 1

    def max_block_bytes(self, plan: Plan) -> int:
        """See ``Engine``."""
        return Additive().max_block_bytes(plan)

    def check(self, plan: Plan) -> None:
        """See ``Engine``."""
        Additive().check(plan)

    def check_values(self, values: Values, plan: Plan) -> None:
        """See ``Engine``."""
        Additive().check_values(values, plan)

    def share(self, values: Values, plan: Plan, entropy: Entropy) -> list[bytes]:
        """See ``Engine``."""
        return Additive().share(values, plan, entropy)

    def run(
        self, plan: Plan, blocks: Sequence[bytes], peers: Mapping[int, socket.socket]
    ) -> bytes:
        """Return all servers' shares, one behind the other."""
        own = Additive().run(plan, blocks, {})
        if plan.party == BAD_PARTY:
            self.misbehave()
        shares = {plan.party: own}
        for index in sorted(peers):
            if index > (plan.party or 0):
                peers[index].sendall(own)
            shares[index] = received(peers[index], len(own))
            if index < (plan.party or 0):
                peers[index].sendall(own)
        return b"".join(shares[index] for index in range(plan.parties))

    def reconstruct(self, shares: Sequence[bytes], plan: Plan) -> list[int]:
        """See ``Engine``."""
        if len(shares) != plan.parties or len(set(shares)) != 1:
            raise JobAbortedError("the servers disagree", FailureCode.ENGINE)
        size = self.max_block_bytes(plan)
        parts = [shares[0][at : at + size] for at in range(0, len(shares[0]), size)]
        return Additive().reconstruct(parts, plan)

    def misbehave(self) -> None:
        """Do something wrong, at one server."""


def received(peer: socket.socket, count: int) -> bytes:
    """Return so many bytes of a peer."""
    data = peer.recv(count, socket.MSG_WAITALL)
    if len(data) != count:
        raise EOFError
    return data


class Hanging(Talking):
    """Says nothing, for ever."""

    name = "hanging"

    def misbehave(self) -> None:
        """Wait for nothing."""
        time.sleep(3600)


class Crashing(Talking):
    """Dies as native code does."""

    name = "crashing"

    def misbehave(self) -> None:
        """Die."""
        os.kill(os.getpid(), signal.SIGSEGV)


class Raising(Talking):
    """Raises a library's error, whose text holds a value."""

    name = "raising"

    def misbehave(self) -> None:
        """Raise, and print."""
        os.write(2, CANARY.encode())
        raise ValueError(CANARY)


class Hungry(Talking):
    """Needs more memory than there is."""

    name = "hungry"

    def misbehave(self) -> None:
        """Take it."""
        bytearray(1 << 40)


class Chatty(Talking):
    """Sends far more than the peer reads before it sends something itself."""

    name = "chatty"
    megabytes = 24

    def run(
        self, plan: Plan, blocks: Sequence[bytes], peers: Mapping[int, socket.socket]
    ) -> bytes:
        """Send in one direction, slowly read, and go on as the others do."""
        count = self.megabytes << 20
        if plan.party == 0:
            for peer in peers.values():
                peer.sendall(bytes(count))
        else:
            time.sleep(4)
            received(peers[0], count)
        return super().run(plan, blocks, peers)


class Nosy(Talking):
    """Tells what a worker finds around itself."""

    name = "nosy"
    told: list[dict[str, codec.Value]]

    def run(
        self,
        plan: Plan,  # noqa: ARG002 - the protocol's shape
        blocks: Sequence[bytes],  # noqa: ARG002 - the protocol's shape
        peers: Mapping[int, socket.socket],
    ) -> bytes:
        """Return what is open, what is bounded, and who is there."""
        listing = Path("/proc/self/fd")
        numbers = [int(entry.name) for entry in listing.iterdir()]
        kinds = [kind for number in numbers if (kind := family(number)) is not None]
        return codec.encode(
            {
                "peers": [*sorted(peers)],
                "sockets": len(kinds),
                "families": [*sorted(set(kinds))],
                "outputs": [
                    str(Path(f"/proc/self/fd/{n}").readlink()) for n in range(3)
                ],
                "threads": len(list(Path("/proc/self/task").iterdir())),
                "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
                "memory": resource.getrlimit(resource.RLIMIT_AS)[0],
                "parent": os.getppid(),
                "sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
                "sigusr1": signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL,
                "modules": [
                    name
                    for name in sys.modules
                    if name.startswith(
                        ("participant.dataplane", "shared.crypto", "ssl")
                    )
                ],
            }
        )

    def reconstruct(
        self,
        shares: Sequence[bytes],
        plan: Plan,  # noqa: ARG002 - the protocol's shape
    ) -> list[int]:
        """Keep what the servers tell, and return a mean's totals."""
        self.told = [codec.decode_map(share) for share in shares]
        return [2, 5, 16 << 24]


def family(number: int) -> int | None:
    """Return the address family of an open socket, None for something else."""
    try:
        copy = os.dup(number)
    except OSError:  # closed meanwhile
        return None
    try:
        connection = socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None
    with connection:
        return int(connection.family)


class Threaded(Talking):
    """Cannot be forked: its module starts a thread."""

    name = "threaded"
    preload = ("tests.starts_a_thread",)


class Missing(Talking):
    """Needs a module that is not there."""

    name = "missing"
    preload = ("tests.no_such_module",)


ENGINES: tuple[type[Talking], ...] = (
    Talking, Hanging, Crashing, Raising, Hungry, Chatty, Nosy, Threaded, Missing,
)  # fmt: skip


def install(folder: Path, lines: Sequence[str], name: str = "test-engines") -> None:
    """Write what an installed package says of its engines.

    Args:
        folder: on ``sys.path``.
        lines: ``engine = module:class``.
        name: the package's.
    """
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    text = "\n".join([f"[{registry.GROUP}]", *lines, ""])
    (info / "entry_points.txt").write_text(text)


@contextmanager
def plugged_in(folder: Path) -> Iterator[None]:
    """Make installed packages in a folder visible here and in new processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder))
        forget()
        try:
            yield
        finally:
            forget()


@contextmanager
def worker_engines(folder: Path) -> Iterator[None]:
    """Make the engines of this module visible."""
    install(folder, [f"{e.name} = {e.__module__}:{e.__name__}" for e in ENGINES])
    with plugged_in(folder):
        yield


def forget() -> None:
    """Look at what is installed anew."""
    registry._plugins.cache_clear()
    registry._loaded.cache_clear()
