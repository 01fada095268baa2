"""All servers of a job on this machine, as the framework runs an engine there."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import combinations
from pathlib import Path
from typing import Final

from participant.engines.base import Engine, Plan
from participant.engines.conformance.subject import NotConformingError, at_server
from participant.engines.worker.launcher import MAX_WORKER_BYTES, Workers
from shared.errors import FailureCode, JobAbortedError

PATIENCE_SECONDS: Final = 60.0
"""How long anything that has to end may take."""
GRACE_SECONDS: Final = 0.5
"""How long servers may go on when one of them failed."""
_POLL_SECONDS: Final = 0.02

Channels = list[dict[int, socket.socket]]
"""One row a server: its ends of the channels, by the other server's number."""


def channels(parties: int) -> Channels:
    """Return the channels between all pairs of so many servers."""
    ends: Channels = [{} for _ in range(parties)]
    for one, other in combinations(range(parties), 2):
        ends[one][other], ends[other][one] = socket.socketpair()
    return ends


@asynccontextmanager
async def workers(memory_bytes: int = MAX_WORKER_BYTES) -> AsyncIterator[Workers]:
    """Give what runs engines in processes of their own; ends them afterwards."""
    made = Workers(memory_bytes)
    try:
        yield made
    finally:
        await made.close()


async def outcomes(
    made: Workers,
    engine: Engine,
    plan: Plan,
    blocks: Sequence[Sequence[bytes]],
    ends: Channels,
) -> list[bytes | JobAbortedError]:
    """Let all servers compute at once; the first that fails ends the others.

    Args:
        made: for an engine ``in_worker``.
        engine: what computes.
        plan: of all servers.
        blocks: one row a server.
        ends: their channels; closed here.

    Returns:
        Each server's output share, or why it has none.

    Raises:
        NotConformingError: one does not end, or raises something else.
    """
    tasks = [
        asyncio.create_task(
            _output(made, engine, at_server(plan, party), own, ends[party])
        )
        for party, own in enumerate(blocks)
    ]
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        # The first to notice need not be the one at fault.
        await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    except TimeoutError:
        raise NotConformingError(
            f"run() takes longer than {PATIENCE_SECONDS:.0f} s"
        ) from None
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    return [_outcome(result) for result in results]


async def _output(
    made: Workers,
    engine: Engine,
    plan: Plan,
    blocks: Sequence[bytes],
    ends: dict[int, socket.socket],
) -> bytes:
    if engine.in_worker:
        return await made.run(engine.name, plan, blocks, ends)
    for end in ends.values():
        end.close()
    return engine.run(plan, blocks, {})


def _outcome(result: bytes | BaseException) -> bytes | JobAbortedError:
    if isinstance(result, bytes | JobAbortedError):
        return result
    if isinstance(result, asyncio.CancelledError):
        return JobAbortedError("another server failed", FailureCode.ENGINE)
    raise NotConformingError(
        f"run() ended with {type(result).__name__}, not with an output share or"
        " JobAbortedError"
    )


async def cut(ends: Channels, after_bytes: int) -> asyncio.Task[None]:
    """Let the first two servers lose each other after so many bytes each way.

    Returns:
        What carries these bytes; to be cancelled at the end.
    """
    loop = asyncio.get_running_loop()
    middles = []
    for own, other in ((0, 1), (1, 0)):
        ends[own][other].close()
        ends[own][other], middle = socket.socketpair()
        middle.setblocking(False)
        middles.append(middle)

    async def carry(source: socket.socket, target: socket.socket) -> None:
        left = after_bytes
        while left and (data := await loop.sock_recv(source, left)):
            left -= len(data)
            await loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)

    async def both() -> None:
        one, other = middles
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(carry(one, other), carry(other, one))
        finally:
            one.close()
            other.close()

    return asyncio.create_task(both())


async def until_no_worker_runs(made: Workers) -> None:
    """Wait until the zygote has no child.

    Raises:
        NotConformingError: one stays.
    """
    pid = made.zygote_pid
    if pid is None:
        return
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await asyncio.to_thread(children.read_text):  # noqa: ASYNC110 - no event says so
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise NotConformingError("a worker that was killed still runs") from None
