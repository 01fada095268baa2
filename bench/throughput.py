"""Jobs per second with several in flight, all in the same pool of parties.

The floor is as many jobs at once through the bare processes: four hops each.
"""

import asyncio
import time
from collections import Counter, defaultdict

from bench import setup
from bench.floor import Floor
from bench.measured import Better, Figure, Series
from bench.realm import BenchRealm
from bench.setup import Size
from participant.service.question import Question
from shared.errors import JobError

PART = "throughput"
IN_FLIGHT = (1, 4, 16)
LEAST_JOBS = 8
"""Of a round; otherwise twice as many as are in flight."""


def measure(realm: BenchRealm, bare: Floor, size: Size, rounds: int) -> list[Figure]:
    """Return the rates of one question, asked again and again."""
    question = setup.question(size)
    ours: dict[int, list[float]] = defaultdict(list)
    floors: dict[int, list[float]] = defaultdict(list)
    failed: Counter[int] = Counter()
    for number in range(rounds + 1):
        realm.note(f"jobs in flight: round {number} of {rounds}")
        for in_flight in IN_FLIGHT:
            count = max(LEAST_JOBS, 2 * in_flight)
            rate, failures = asyncio.run(_rate(realm, question, count, in_flight))
            failed[in_flight] += failures
            floor_ms = bare.round_ms(size.servers, size.sources, jobs=in_flight)
            if number > 0:  # the first of everything is not like the others
                ours[in_flight].append(rate)
                floors[in_flight].append(in_flight / floor_ms * 1000)
    return [
        Figure(
            PART,
            f"{in_flight} in flight" + _said(failed[in_flight]),
            "jobs/s",
            Series.of(ours[in_flight]),
            (("four hops each", Series.of(floors[in_flight])),),
            Better.MORE,
        )
        for in_flight in IN_FLIGHT
    ]


def _said(failures: int) -> str:
    return f", {failures} failed" if failures else ""


async def _rate(
    realm: BenchRealm, question: Question, count: int, in_flight: int
) -> tuple[float, int]:
    """Return how many of so many jobs had results a second, and how many failed."""
    turns = asyncio.Semaphore(in_flight)
    failed = 0

    async def one() -> None:
        nonlocal failed
        async with turns:
            try:
                await realm.result_of(question)
            except JobError as error:
                realm.note(str(error))
                failed += 1

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(one())
    return (count - failed) / (time.perf_counter() - began), failed
