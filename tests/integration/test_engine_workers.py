"""Workers: one process a job, with its own channels and nothing else."""

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import pytest

from participant.engines.base import Plan
from participant.engines.registry import engine
from participant.engines.worker import zygote
from participant.engines.worker.launcher import MAX_WORKER_BYTES, Workers
from participant.engines.worker.messages import (
    MAX_BLOCK_BYTES,
)
from shared import codec
from shared.errors import FailureCode, JobAbortedError
from shared.names import JobId
from tests.worker_engines import CANARY, worker_engines

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 20.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _engines(tmp_path: Path) -> Iterator[None]:
    """All engines of the tests are installed."""
    with worker_engines(tmp_path):
        yield


def plan(party: int | None = None, parties: int = 3, sources: int = 2) -> Plan:
    """Return a plan of two numbers a source."""
    return Plan(JobId(bytes(16)), parties, party, sources, 1, 2)


def channels(parties: int) -> list[dict[int, socket.socket]]:
    """Return each server's ends of the channels between them all."""
    ends: list[dict[int, socket.socket]] = [{} for _ in range(parties)]
    for one, other in combinations(range(parties), 2):
        ends[one][other], ends[other][one] = socket.socketpair()
    return ends


def inputs(
    name: str, values: Sequence[Sequence[int]], parties: int
) -> list[list[bytes]]:
    """Return each server's blocks."""
    by_source = [
        engine(name).share(own, plan(parties=parties), secrets.token_bytes)
        for own in values
    ]
    return [[own[server] for own in by_source] for server in range(parties)]


async def outputs(workers: Workers, name: str, parties: int = 3) -> list[object]:
    """Let all servers compute at once; return their output shares or errors."""
    blocks = inputs(name, [[1, -2], [30, 40]], parties)
    ends = channels(parties)
    return list(
        await asyncio.gather(
            *(
                workers.run(name, plan(party, parties), blocks[party], ends[party])
                for party in range(parties)
            ),
            return_exceptions=True,
        )
    )


def with_workers(
    scenario: Callable[[Workers], Awaitable[None]], memory_bytes: int = MAX_WORKER_BYTES
) -> None:
    """Run a scenario; afterwards no process and no descriptor is left."""

    async def run() -> None:
        before = descriptors()
        workers = Workers(memory_bytes)
        try:
            await scenario(workers)
        finally:
            pid = workers.zygote_pid
            await workers.close()

        assert pid is None or not is_alive(pid)
        assert workers.zygote_pid is None
        assert descriptors() == before

    asyncio.run(run())


def descriptors() -> set[str]:
    """Return what this process has open, sockets and pipes by their identity."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists
            found.add(f"{entry.name} {entry.readlink()}")
    return {entry for entry in found if "/proc" not in entry}


def children(pid: int) -> list[int]:
    """Return the processes that a process forked and that still run."""
    task = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in task.read_text().split()]


def is_alive(pid: int) -> bool:
    """Say whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until(is_it: Callable[[], bool]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_it():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.01)


async def alone(workers: Workers, name: str, blocks: Sequence[bytes]) -> bytes:
    """Let one server compute whose peers are gone."""
    first, *others = channels(3)
    for ends in others:
        for end in ends.values():
            end.close()
    return await workers.run(name, plan(0), blocks, first)


def failure(result: object) -> JobAbortedError:
    """Return the error that a worker's run ended with."""
    assert isinstance(result, JobAbortedError), result
    return result


@pytest.mark.parametrize("parties", [2, 3, 7])
def test_servers_in_workers_compute_together(parties: int) -> None:
    """Each talks to every other over a channel of their own."""

    async def scenario(workers: Workers) -> None:
        shares = await outputs(workers, "talking", parties)

        totals = engine("talking").reconstruct(
            shares,  # type: ignore[arg-type]  # no error is among them
            plan(parties=parties),
        )

        assert totals == [31, 38]

    with_workers(scenario)


def test_the_zygote_starts_with_the_first_job_and_serves_all_others() -> None:
    """An idle participant has no process more than without engines."""

    async def scenario(workers: Workers) -> None:
        idle = workers.zygote_pid
        await workers.warm("talking")
        pid = workers.zygote_pid
        await outputs(workers, "talking")
        await outputs(workers, "talking")

        assert idle is None
        assert pid is not None
        assert pid == workers.zygote_pid
        assert children(pid) == []

    with_workers(scenario)


def test_a_worker_has_its_channels_and_nothing_else() -> None:
    """No key, no link, no file; signals, memory, core dumps and output are bounded."""

    async def scenario(workers: Workers) -> None:
        await workers.warm("nosy")
        shares = await outputs(workers, "nosy")
        told = codec.decode_map(shares[1])  # type: ignore[arg-type]  # no error

        assert told == {
            "peers": [0, 2],
            "sockets": 3,
            "families": [int(socket.AF_UNIX)],
            "outputs": ["/dev/null"] * 3,
            "threads": 1,
            "core": 0,
            "memory": 4 << 30,
            "parent": workers.zygote_pid,
            "sigint": True,
            "sigusr1": True,
            "modules": [],
        }

    with_workers(scenario, 4 << 30)


def test_an_engines_error_is_named_without_its_text(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A library's text may hold a value; so may what it prints."""

    async def scenario(workers: Workers) -> None:
        results = await outputs(workers, "raising")
        error = failure(results[1])

        assert error.code is FailureCode.ENGINE
        assert str(error) == "engine 'raising': it raised ValueError"
        # Nobody talks to the peers of a server that failed: their channel ends.
        assert failure(results[0]).code is FailureCode.ENGINE

    with_workers(scenario)
    printed = capfd.readouterr()

    assert CANARY not in printed.out + printed.err


def test_a_worker_that_dies_is_named_with_its_signal() -> None:
    """Native code may do that; no other job notices."""

    async def scenario(workers: Workers) -> None:
        error = failure((await outputs(workers, "crashing"))[1])

        assert error.code is FailureCode.ENGINE
        assert "Segmentation fault" in str(error)
        assert all(isinstance(s, bytes) for s in await outputs(workers, "talking"))

    with_workers(scenario)


def test_a_worker_gets_no_more_memory_than_its_bound() -> None:
    """It fails alone, and says how much it was given."""

    async def scenario(workers: Workers) -> None:
        error = failure((await outputs(workers, "hungry"))[1])

        assert error.code is FailureCode.ENGINE
        assert "more than 2048 MiB" in str(error)

    with_workers(scenario, 2 << 30)


def test_a_cancelled_run_kills_its_worker() -> None:
    """A job that is stopped or late leaves no process."""

    async def scenario(workers: Workers) -> None:
        running = asyncio.create_task(outputs(workers, "hanging"))
        await workers.warm("hanging")
        pid = workers.zygote_pid
        assert pid is not None
        await until(lambda: len(children(pid)) == 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await until(lambda: children(pid) == [])

        assert pid == workers.zygote_pid

    with_workers(scenario)


def test_a_killed_zygote_takes_its_workers_along_and_is_replaced() -> None:
    """The jobs that it served fail; the next one has a new zygote."""

    async def scenario(workers: Workers) -> None:
        running = asyncio.create_task(outputs(workers, "hanging"))
        await workers.warm("hanging")
        pid = workers.zygote_pid
        assert pid is not None
        await until(lambda: len(children(pid)) == 3)
        forked = children(pid)
        os.kill(pid, signal.SIGKILL)
        results = await running
        await until(lambda: not any(map(is_alive, forked)))

        assert {failure(result).code for result in results} == {FailureCode.ENGINE}
        assert workers.zygote_pid is None
        assert all(isinstance(s, bytes) for s in await outputs(workers, "talking"))
        assert workers.zygote_pid not in {None, pid}

    with_workers(scenario)


def test_a_killed_data_process_leaves_no_process(tmp_path: Path) -> None:
    """Nobody computes on, with shares that nobody asked for any more."""
    program = tmp_path / "data_process.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio
            from participant.engines.worker.launcher import Workers
            from tests.integration.test_engine_workers import outputs

            async def main():
                workers = Workers()
                await workers.warm("hanging")
                print(workers.zygote_pid, flush=True)
                await outputs(workers, "hanging")

            asyncio.run(main())
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    with subprocess.Popen(
        [sys.executable, str(program)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        asyncio.run(until(lambda: len(children(pid)) == 3))
        forked = children(pid)
        process.kill()
    asyncio.run(until(lambda: not any(map(is_alive, [pid, *forked]))))

    assert len(forked) == 3


def test_a_closed_party_leaves_no_process() -> None:
    """Closing ends the zygote, which ends what runs."""

    async def scenario(workers: Workers) -> None:
        running = asyncio.create_task(outputs(workers, "hanging"))
        await workers.warm("hanging")
        pid = workers.zygote_pid
        assert pid is not None
        await until(lambda: len(children(pid)) == 3)
        forked = children(pid)
        await workers.close()
        results = await running

        assert {failure(result).code for result in results} == {FailureCode.ENGINE}
        assert not any(map(is_alive, [pid, *forked]))

    with_workers(scenario)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("threaded", "start threads"),
        ("missing", "cannot be imported (ModuleNotFoundError)"),
        ("no-such-engine", "no engine 'no-such-engine'"),
    ],
)
def test_an_engine_that_cannot_be_loaded_fails_its_own_jobs(
    name: str, words: str
) -> None:
    """With the reason; the zygote goes on."""

    async def scenario(workers: Workers) -> None:
        with pytest.raises(JobAbortedError) as caught:
            await alone(workers, name, [b"1", b"2"])

        assert caught.value.code is FailureCode.ENGINE
        assert words in str(caught.value)
        assert all(isinstance(s, bytes) for s in await outputs(workers, "talking"))

    with_workers(scenario)


def test_a_block_beyond_all_bounds_is_refused_unread() -> None:
    """The length is judged before memory is taken for it."""

    async def scenario(workers: Workers) -> None:
        blocks = [bytes(MAX_BLOCK_BYTES + 1), b""]
        with pytest.raises(JobAbortedError, match="at most 67108864") as caught:
            await alone(workers, "talking", blocks)

        assert caught.value.code is FailureCode.ENGINE

    with_workers(scenario)


def test_wrong_arguments_are_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody starts it by hand without being told how it is meant."""
    code = zygote.main(["x"])

    assert code == 2
    assert "usage" in capsys.readouterr().err
