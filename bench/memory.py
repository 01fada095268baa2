"""Resident memory of the processes, idle and with an additive job in flight.

The floor is a bare Python process that has imported the libraries which the
program stands on, and done nothing with them.
"""

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from bench import processes
from bench.measured import Figure, Series
from bench.processes import Memory
from bench.realm import BenchRealm, server, source
from participant.service.question import Question

PART = "memory"
INTERVAL_SECONDS = 0.01
LIBRARIES = {
    "manager": "pika, msgpack, nacl.bindings, cryptography.x509, pydantic, sqlalchemy",
    "control": "pika, msgpack, nacl.bindings, cryptography.x509, pydantic",
    "data": "msgpack, nacl.bindings, cryptography.x509, pydantic, numpy",
}


def measure(realm: BenchRealm, question: Question) -> list[Figure]:
    """Return PSS and RSS of every kind of process, idle and at most in a job.

    ``question``: asked of the realm meanwhile.
    """
    realm.note("memory, idle and with a job in flight")
    pids = _pids(realm)
    idle = {name: [processes.memory(pid)] for name, pid in pids.items()}
    in_job = asyncio.run(_in_job(realm, question))
    figures: list[Figure] = []
    with _bare() as bare:
        for name, samples in in_job.items():
            kind = next((kind for kind in LIBRARIES if name.endswith(kind)), "")
            floor = processes.memory(bare[kind]) if kind else None
            if name in idle:
                figures += _figures(f"{name}, idle", idle[name], floor)
            figures += _figures(f"{name}, in a job", [_most(samples)], floor)
    return figures


def _figures(
    name: str, samples: Sequence[Memory], floor: Memory | None
) -> Iterator[Figure]:
    for unit in ("PSS", "RSS"):
        values = Series.of(_of(sample, unit) for sample in samples)
        floors: tuple[tuple[str, Series], ...] = ()
        if floor is not None:
            floors = (("libraries alone", Series.of([_of(floor, unit)])),)
        yield Figure(PART, f"{name}, {unit}", "MiB", values, floors)


def _of(memory: Memory, unit: str) -> float:
    return memory.pss if unit == "PSS" else memory.rss


def _most(samples: Sequence[Memory]) -> Memory:
    return Memory(
        rss=max(sample.rss for sample in samples),
        pss=max(sample.pss for sample in samples),
    )


def _pids(realm: BenchRealm) -> dict[str, int]:
    """Return the processes to look at; workers of an engine where there are any."""
    found = {"manager": realm.pid("manager")}
    for role, name in (("server", server(0).name), ("source", source(0, ()).name)):
        found[f"{role} control"] = realm.pid(name)
        data = found[f"{role} data"] = realm.data_pid(name)
        others = {*processes.children(realm.pid(name)), *processes.children(data)}
        for number, pid in enumerate(sorted(others - {data}), 1):
            found[f"{role} worker {number}"] = pid
    return found


async def _in_job(
    realm: BenchRealm, question: Question
) -> Mapping[str, Sequence[Memory]]:
    """Look at the processes again and again until a job is done."""
    samples: dict[str, list[Memory]] = defaultdict(list)
    asking = asyncio.create_task(realm.ask_now(question))
    while not asking.done():
        for name, pid in _pids(realm).items():
            with suppress(OSError):  # a worker may be gone already
                samples[name].append(processes.memory(pid))
        await asyncio.sleep(INTERVAL_SECONDS)
    await asking
    return samples


@contextmanager
def _bare() -> Iterator[Mapping[str, int]]:
    """Run a process that has imported the libraries, for each kind; give the ids."""
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for kind, modules in LIBRARIES.items():
            imports = f"import asyncio, ssl, sys, {modules}"
            script = f"{imports}; print(flush=True); sys.stdin.read()"
            running[kind] = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        for process in running.values():
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            process.stdout.readline()
        yield {kind: process.pid for kind, process in running.items()}
    finally:
        for process in running.values():
            process.kill()
            process.communicate()
