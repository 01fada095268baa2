"""Resident memory of the processes, idle and with a job of each engine in flight.

The floor is a bare Python process that has imported the libraries which the
program stands on, and done nothing with them.
"""

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain

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


def measure(realm: BenchRealm, questions: Sequence[Question]) -> list[Figure]:
    """Return PSS and RSS of every kind of process, idle and at most in jobs.

    ``questions``: asked of the realm one after the other; an engine's name comes once.
    """
    realm.note("memory, idle and with jobs in flight")
    idle = {name: [processes.memory(pid)] for name, pid in _pids(realm).items()}
    seen: dict[str, Mapping[str, Sequence[Memory]]] = {"idle": idle}
    for question in questions:
        in_job = asyncio.run(_in_job(realm, question))
        seen[f"in a job of {question.engine}"] = in_job
    figures: list[Figure] = []
    with _bare() as bare:
        for name in dict.fromkeys(chain.from_iterable(seen.values())):
            kind = next((kind for kind in LIBRARIES if name.endswith(kind)), "")
            floor = processes.memory(bare[kind]) if kind else None
            for when, samples in seen.items():
                if name in samples:
                    most = _most(samples[name])
                    figures += _figures(f"{name}, {when}", [most], floor)
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
    """Return the processes to look at; an engine's own where there are any."""
    found = {"manager": realm.pid("manager")}
    for role, name in (("server", server(0).name), ("source", source(0, ()).name)):
        found[f"{role} control"] = realm.pid(name)
        found[f"{role} data"] = realm.data_pid(name)
    for zygote in processes.children(found["server data"]):
        found["zygote of engines"] = zygote
        for worker in processes.children(zygote):
            found["engine worker"] = worker
    return found


async def _in_job(
    realm: BenchRealm, question: Question
) -> Mapping[str, Sequence[Memory]]:
    """Look at the processes again and again until a job is done."""
    samples: dict[str, list[Memory]] = defaultdict(list)
    asking = asyncio.create_task(realm.ask_now(question))
    while not asking.done():
        with suppress(OSError):  # a worker may be gone already
            for name, pid in _pids(realm).items():
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
