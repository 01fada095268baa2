"""Where a job's time goes: CPU time of every process, and what it is spent on.

The kernel says how much CPU time each process used. py-spy looks at the stacks of
some of them from outside, so that they run as ever; a sample counts for the
innermost part of the program, or library, that is on the stack. What the event loop
does without Python code on top, reading and writing sockets, no sample tells from
waiting; it is left out.
"""

import subprocess
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import processes, setup
from bench.floor import Floor
from bench.measured import Figure, Series
from bench.realm import CONSUMER, BenchRealm, server, source
from bench.setup import Size
from manager.broker.access import private_node
from shared.errors import JobError
from shared.names import MANAGER

PART = "profile"
SIZES: Final = (Size(3, 1), Size(3, 10), Size(10, 10))
SAMPLED_SIZE: Final = Size(3, 5)
BROKER: Final = "broker"
KINDS: Final = (
    MANAGER,
    BROKER,
    "servers' control",
    "servers' data",
    "clients' control",
    "clients' data",
)
"""Of processes; a job uses no others."""
JOBS: Final = 5
"""Of a sample of CPU time."""
SECONDS: Final = 20
RATE: Final = 250
"""Samples of a stack a second."""
FLOOR_JOBS: Final = 10
PATIENCE_SECONDS: Final = 60
"""For py-spy to write down what it saw."""

DISK: Final = "commit to disk"
PARTS: Final = (
    ("do_commit (sqlalchemy", DISK),
    ("(sqlalchemy/", "SQL"),
    ("(manager/store/", "SQL"),
    ("(pydantic/", "message models"),
    ("(shared/messages/", "message models"),
    ("(shared/codec.py", "msgpack"),
    ("(nacl/", "cryptography"),
    ("(cryptography/", "cryptography"),
    ("(shared/crypto/", "cryptography"),
    ("(ssl.py", "TLS"),
    ("(pika/", "AMQP"),
    ("(shared/transport/", "AMQP"),
    ("(manager/protocol/", "protocol machines"),
    ("(participant/protocol/", "protocol machines"),
    ("(shared/protocol/", "protocol machines"),
    ("(manager/", "service"),
    ("(participant/", "service"),
    ("(shared/", "service"),
)
"""What a frame belongs to; the first that its text holds. The innermost one counts."""
COLUMNS: Final = tuple(dict.fromkeys(name for _, name in PARTS))
WAITING: Final = ("(concurrent/futures/thread.py", "(threading.py", "(queue.py")
"""Of a thread that has nothing to do."""


@dataclass(frozen=True, slots=True)
class Stack:
    """How often a stack was seen; ``frames``: the outermost first."""

    frames: tuple[str, ...]
    count: int


def read_stacks(text: str) -> list[Stack]:
    """Return what py-spy wrote as ``frame;frame;frame count``, a line each."""
    found = []
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        found.append(Stack(tuple(frames.split(";")), int(count)))
    return found


def shares(stacks: Iterable[Stack]) -> dict[str, float]:
    """Return of how many samples in a hundred each part was on top."""
    samples: Counter[str] = Counter()
    for stack in stacks:
        name = _part_of(stack.frames)
        if name is not None:
            samples[name] += stack.count
    total = max(1, samples.total())
    return {name: 100 * samples[name] / total for name in COLUMNS}


def _part_of(frames: Sequence[str]) -> str | None:
    """Return what a stack's time is spent on; ``None`` for the loop and for waiting."""
    if frames[-1].startswith("Runner.run ") or any(
        place in frames[-1] for place in WAITING
    ):
        return None
    for frame in reversed(frames):
        for place, name in PARTS:
            if place in frame:
                return name
    return None


def measure(realm: BenchRealm, bare: Floor, rounds: int) -> list[Figure]:
    """Return CPU time by process and size, and what some processes spend it on."""
    figures = [
        figure for size in SIZES for figure in _cpu_times(realm, bare, size, rounds)
    ]
    return figures + _spendings(realm)


def cpu_name(size: Size, kind: str) -> str:
    """Return the name of the figure of a kind of process."""
    return f"CPU a job, {size}, {kind}"


def _cpu_times(realm: BenchRealm, bare: Floor, size: Size, rounds: int) -> list[Figure]:
    """Return the CPU time of a warm job by kind of process."""
    realm.note(f"profile: {size}")
    question = setup.question(size)
    broker = _broker_pid(realm)
    pids = _pids(realm, size, broker)
    floor_pids = {MANAGER: [bare.manager_pid], BROKER: [broker]}
    samples: dict[str, list[float]] = {name: [] for name in pids}
    floors: dict[str, list[float]] = {name: [] for name in floor_pids}
    realm.ask(question)
    for _ in range(rounds):
        used = _used_ms(pids, lambda: [realm.ask(question) for _ in range(JOBS)])
        for name, milliseconds in used.items():
            samples[name].append(milliseconds / JOBS)
        used = _used_ms(
            floor_pids,
            lambda: bare.round_ms(size.servers, size.sources, jobs=FLOOR_JOBS),
        )
        for name, milliseconds in used.items():
            floors[name].append(milliseconds / FLOOR_JOBS)
    return [
        Figure(
            PART,
            cpu_name(size, name),
            "ms",
            Series.of(values),
            (("bare hops", Series.of(floors[name])),) if name in floors else (),
        )
        for name, values in samples.items()
    ]


def _pids(realm: BenchRealm, size: Size, broker: int) -> dict[str, list[int]]:
    servers = [server(index).name for index in range(size.servers)]
    clients = [*(source(index, ()).name for index in range(size.sources)), CONSUMER]
    pids = (
        [realm.pid(MANAGER)],
        [broker],
        [realm.pid(name) for name in servers],
        [realm.data_pid(name) for name in servers],
        [realm.pid(name) for name in clients],
        [realm.data_pid(name) for name in clients],
    )
    return dict(zip(KINDS, pids, strict=True))


def _broker_pid(realm: BenchRealm) -> int:
    status = private_node(realm.settings).status()
    if status is None or status.pid is None:
        raise JobError("the bench's broker does not run")
    return status.pid


def _used_ms(
    pids: Mapping[str, Sequence[int]], work: Callable[[], object]
) -> dict[str, float]:
    """Return the CPU milliseconds that processes used while work was done."""
    before = {name: sum(map(processes.cpu_seconds, of)) for name, of in pids.items()}
    work()
    return {
        name: (sum(map(processes.cpu_seconds, of)) - before[name]) * 1000
        for name, of in pids.items()
    }


def _spendings(realm: BenchRealm) -> list[Figure]:
    """Return what single processes spend their time on while jobs go through them."""
    realm.note(f"profile: stacks, {SAMPLED_SIZE}, {SECONDS} s")
    one_server, one_source = server(0).name, source(0, ()).name
    pids = {
        "manager": realm.pid(MANAGER),
        "a server's control": realm.pid(one_server),
        "a server's data": realm.data_pid(one_server),
        "a source's control": realm.pid(one_source),
        "a source's data": realm.data_pid(one_source),
    }
    question = setup.question(SAMPLED_SIZE)
    jobs = 0

    def ask() -> None:
        nonlocal jobs
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            realm.ask(question)
            jobs += 1

    used: dict[str, float] = {}

    def work() -> None:
        used.update(_used_ms({name: [pid] for name, pid in pids.items()}, ask))

    seen = stacks_of(tuple(pids.values()), SECONDS, work)
    return [
        Figure(
            PART,
            f"CPU a job, {name}",
            "ms",
            Series.of([used[name] / jobs]),
            details=shares(stacks),
        )
        for name, stacks in zip(pids, seen, strict=True)
    ]


def stacks_of(
    pids: Sequence[int], seconds: int, work: Callable[[], None]
) -> list[list[Stack]]:
    """Return the stacks that each process had while work was done.

    Args:
        pids: the processes; of this user, or this one is root.
        seconds: how long to look.
        work: what to do meanwhile; takes as long.

    Raises:
        JobError: the kernel does not let this user look.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(pid) for pid in pids]
        watchers = [
            _watch(pid, path, seconds) for pid, path in zip(pids, paths, strict=True)
        ]
        work()
        for watcher in watchers:
            _wait(watcher, seconds)
        return [read_stacks(path.read_text()) for path in paths]


def _watch(pid: int, path: Path, seconds: int) -> subprocess.Popen[str]:
    program = Path(sysconfig.get_path("scripts")) / "py-spy"
    return subprocess.Popen(  # noqa: S603 - of our own environment
        [
            *(str(program), "record", "--pid", str(pid), "--output", str(path)),
            *("--format", "raw", "--rate", str(RATE), "--duration", str(seconds)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait(watcher: subprocess.Popen[str], seconds: int) -> None:
    _, errors = watcher.communicate(timeout=seconds + PATIENCE_SECONDS)
    if watcher.returncode != 0:
        raise JobError(
            "py-spy cannot look at the processes of the bench; run it as root, or"
            f" allow it (sysctl kernel.yama.ptrace_scope=0): {errors[-300:].strip()}"
        )
