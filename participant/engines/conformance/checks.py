"""The checks; each takes a subject and raises ``NotConformingError``."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final

from participant.engines.base import MAX_SOURCES, Plan
from participant.engines.conformance import servers
from participant.engines.conformance.distribution import check_distribution
from participant.engines.conformance.subject import (
    NotConformingError,
    Subject,
    at_server,
)
from participant.engines.registry import engine
from participant.engines.worker.launcher import MAX_WORKER_BYTES
from shared.errors import FrameworkError, JobAbortedError, RefusedError

MIN_PARTIES: Final = 2
MAX_PARTIES: Final = 7
TINY_BYTES: Final = 48 << 20
"""Less address space than a Python process with its libraries has."""
MANY_SOURCES: Final = (4096, 256, 2)
"""Their blocks, as many as an engine serves, must not fit what a worker has free."""

Check = Callable[[Subject], None]


def check_registration(subject: Subject) -> None:
    """It is the engine that its name stands for, here and in a worker."""
    name = subject.engine.name
    try:
        found = engine(name)
    except RefusedError as error:
        raise NotConformingError(str(error)) from error
    if type(found) is not type(subject.engine):
        raise NotConformingError(f"engine {name!r} is {type(found).__name__}")


def check_bounds(subject: Subject) -> None:
    """It serves the numbers of servers that it says, and refuses what it cannot."""
    serving = subject.engine
    for parties in range(MIN_PARTIES, MAX_PARTIES + 1):
        most = serving.max_threshold(parties)
        if parties not in subject.parties:
            if most >= 1:
                plan = replace(subject.plan(parties), threshold=most)
                _refuses(partial(serving.check, plan), f"{parties} servers")
            continue
        if not 1 <= most < parties:
            raise NotConformingError(f"a threshold of {most} of {parties} servers")
        good = subject.plan(parties)
        serving.check(good)
        for what, plan in (
            ("threshold 0", replace(good, threshold=0)),
            ("a threshold above its own", replace(good, threshold=most + 1)),
            ("no source", replace(good, sources=0)),
            ("too many sources", replace(good, sources=MAX_SOURCES + 1)),
            ("no value", replace(good, width=0)),
            ("a program that is none", replace(good, program=b"\xc1")),
        ):
            _refuses(partial(serving.check, plan), what)


def check_values(subject: Subject) -> None:
    """A source is told before it accepts that its values cannot be computed on."""
    serving = subject.engine
    plan = subject.plan(subject.parties[0])
    [values] = subject.values(1)
    wrong = [] if plan.width is None else [values[:-1], [*values, 0], []]
    if subject.too_large is not None:
        wrong += [[*values[:-1], sign * subject.too_large] for sign in (1, -1)]
    for bad in wrong:
        for attempt in (
            partial(serving.check_values, bad, plan),
            partial(serving.share, bad, plan, bytes),
        ):
            _refuses(attempt, "values that do not fit")


def check_results(subject: Subject) -> None:
    """What comes out is what the values say in clear, each time."""
    for parties in subject.parties:
        sources = 1 + parties % 3
        plan = subject.plan(parties, sources)
        values = subject.values(sources)
        shares = _outputs(subject, plan, subject.blocks(plan, values))
        for _ in range(2):
            if subject.engine.reconstruct(shares, plan) != subject.expected(values):
                raise NotConformingError(
                    f"a wrong result of {parties} servers and {sources} sources"
                )


def check_block_sizes(subject: Subject) -> None:
    """Blocks keep within the bound that servers and tickets are told."""
    for parties in subject.parties:
        plan = subject.plan(parties)
        most = subject.engine.max_block_bytes(plan)
        for row in subject.blocks(plan, subject.values(2)):
            if any(not 1 <= len(block) <= most for block in row):
                raise NotConformingError(f"a block that is empty or above {most} bytes")


def check_wrong_blocks(subject: Subject) -> None:
    """Blocks of another plan end the job; they crash and hang nothing."""
    plan = subject.plan(subject.parties[0])
    good = subject.blocks(plan, subject.values(2))
    longest = subject.engine.max_block_bytes(plan)
    for what, row in _mutilated(good[0], 4 * longest):
        blocks = [row, *good[1:]]
        if isinstance(_run(subject, plan, blocks)[0], bytes):
            raise NotConformingError(f"a server computes on {what}")


def check_wrong_shares(subject: Subject) -> None:
    """Output shares of another job are no result; they crash nothing."""
    plan = subject.plan(subject.parties[0])
    good = _outputs(subject, plan, subject.blocks(plan, subject.values(2)))
    for what, shares in _mutilated(good, 4 * len(good[0])):
        try:
            subject.engine.reconstruct(shares, plan)
        except JobAbortedError:
            continue
        except Exception as error:
            raise NotConformingError(
                f"reconstruct() raises {type(error).__name__} for {what}"
            ) from error
        raise NotConformingError(f"reconstruct() takes {what}")


def check_lost_peer(subject: Subject) -> None:
    """A channel that ends early ends the computation, or does not matter to it."""
    for after_bytes in (0, 1, 64):
        plan = subject.plan(subject.parties[-1])
        values = subject.values(2)
        results = _run(subject, plan, subject.blocks(plan, values), after_bytes)
        shares = [result for result in results if isinstance(result, bytes)]
        if len(shares) < plan.parties:
            continue
        if subject.engine.reconstruct(shares, plan) != subject.expected(values):
            raise NotConformingError("a wrong result after a peer was lost")


def check_cancellation(subject: Subject) -> None:
    """A worker that waits for a silent peer can be ended, and leaves nothing."""
    if not subject.engine.in_worker:
        return

    async def scenario() -> None:
        plan = subject.plan(subject.parties[-1])
        blocks = subject.blocks(plan, subject.values(2))
        ends = servers.channels(plan.parties)
        silent = ends[0]
        async with servers.workers() as made:
            await made.warm(subject.engine.name)
            running = [
                asyncio.create_task(
                    made.run(
                        subject.engine.name,
                        at_server(plan, party),
                        blocks[party],
                        ends[party],
                    )
                )
                for party in range(1, plan.parties)
            ]
            await asyncio.wait(running, timeout=0.5)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await servers.until_no_worker_runs(made)
        for end in silent.values():
            end.close()

    asyncio.run(scenario())


def check_memory_bound(subject: Subject) -> None:
    """A worker that gets too little memory says so; it neither hangs nor is silent."""
    if not subject.engine.in_worker:
        return
    sources = next(count for count in MANY_SOURCES if _serves(subject, count))
    plan = subject.plan(subject.parties[0], sources)
    blocks = subject.blocks(plan, subject.values(sources))
    results = _run(subject, plan, blocks, memory_bytes=TINY_BYTES)
    if all(isinstance(result, bytes) for result in results):
        raise NotConformingError("the bound on its memory does not hold")


def _serves(subject: Subject, sources: int) -> bool:
    try:
        subject.engine.check(subject.plan(subject.parties[0], sources))
    except RefusedError:
        return False
    return True


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        check.__name__.removeprefix("check_"): check
        for check in (
            check_registration,
            check_bounds,
            check_values,
            check_results,
            check_block_sizes,
            check_wrong_blocks,
            check_wrong_shares,
            check_lost_peer,
            check_cancellation,
            check_memory_bound,
            check_distribution,
        )
    }
)
"""All checks by name, the simplest first."""


def _run(
    subject: Subject,
    plan: Plan,
    blocks: Sequence[Sequence[bytes]],
    cut_after: int | None = None,
    memory_bytes: int = MAX_WORKER_BYTES,
) -> list[bytes | JobAbortedError]:
    async def scenario() -> list[bytes | JobAbortedError]:
        ends = servers.channels(plan.parties)
        carrying = None if cut_after is None else await servers.cut(ends, cut_after)
        async with servers.workers(memory_bytes) as made:
            results = await servers.outcomes(made, subject.engine, plan, blocks, ends)
            await servers.until_no_worker_runs(made)
        if carrying is not None:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)
        return results

    return asyncio.run(scenario())


def _outputs(
    subject: Subject, plan: Plan, blocks: Sequence[Sequence[bytes]]
) -> list[bytes]:
    """Return the output shares of servers that do nothing wrong."""
    results = _run(subject, plan, blocks)
    shares = [result for result in results if isinstance(result, bytes)]
    if len(shares) < plan.parties:
        raise NotConformingError(
            "; ".join(
                f"server {party} of {plan.parties}: {result}"
                for party, result in enumerate(results)
                if not isinstance(result, bytes)
            )
        )
    return shares


def _mutilated(
    good: Sequence[bytes], far_too_long: int
) -> Iterator[tuple[str, list[bytes]]]:
    """Yield what a damaged or hostile sender may have sent instead."""
    first, *rest = good
    yield "a truncated block", [first[:-1], *rest]
    yield "an empty block", [b"", *rest]
    yield "a block that is too long", [first + b"\0", *rest]
    yield "a block far over its bound", [bytes(far_too_long), *rest]
    yield "one block too few", [*rest]
    yield "no block", []
    yield "one block too many", [*good, first]


def _refuses(attempt: Callable[[], object], what: str) -> None:
    try:
        attempt()
    except RefusedError:
        return
    except FrameworkError as error:
        raise NotConformingError(
            f"{type(error).__name__} where RefusedError is due: {what}"
        ) from error
    raise NotConformingError(f"it accepts {what}")
