"""Jobs whose engine talks between the servers, over the links of the data plane."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from participant.dataplane.frames import FrameType
from participant.dataplane.ipc import StopJob
from participant.dataplane.server_job import ServerJob
from participant.dataplane.times import Times
from participant.engines.registry import engine
from participant.protocol.peer_hello import PeeredJob, peer_hello
from shared.errors import FailureCode
from tests.integration.dataplane_raw import RawLink, dialled
from tests.integration.dataplane_realm import REALM, Job, Party, World, world
from tests.worker_engines import BAD_PARTY, CANARY, Nosy, family, worker_engines

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 15.0
SHORT = Times(ping_after=timedelta(seconds=0.5), dead_after=timedelta(seconds=2))
"""Shorter than a worker that does not read keeps its peers waiting."""


@pytest.fixture(autouse=True)
def _engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All engines of the tests are installed."""
    with worker_engines(tmp_path_factory.mktemp("plugins")):
        yield


async def prepared(
    realm: World, name: str, servers: int = 3, seconds: float = 30.0
) -> Job:
    """Return a job of so many servers, two sources and a consumer."""
    consumer = await realm.source("Liberty001", [])
    sources = [
        await realm.source("Hospital001", [1, 2, 3]),
        await realm.source("Hospital002", [4, 6]),
    ]
    job = realm.job(
        await realm.servers(servers), sources, consumer, engine=name, seconds=seconds
    )
    await job.prepare()
    return job


async def is_done(job: Job) -> bool:
    """Wait until everybody delivered; say whether the result is right."""
    for party in job.parties():
        await party.reached(job.id, "delivered")
    return job.result() == {"sources": 2, "n": 5, "mean": {"age": 3.2}}


def zygote(server: Party) -> int:
    """Return the process id of a server's zygote."""
    pid = server.plane._workers.zygote_pid
    assert pid is not None
    return pid


def workers(server: Party) -> list[int]:
    """Return the workers of a server that run now."""
    pid = server.plane._workers.zygote_pid
    if pid is None:
        return []
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def channels() -> int:
    """Return how many local sockets this process has open."""
    numbers = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    return sum(family(number) == socket.AF_UNIX for number in numbers)


async def until_nothing_is_left(job: Job, before: int) -> None:
    """Wait until no worker runs and no channel is open."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while any(workers(server) for server in job.servers) or channels() > before:  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)


async def until_they_run(job: Job) -> None:
    """Wait until every server has a worker."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not all(workers(server) for server in job.servers):  # noqa: ASYNC110 - other processes
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(
    folder: Path, name: str, times: Times | None = None, seconds: float = 30.0
) -> AsyncIterator[tuple[World, Job, int]]:
    """Give a started job, and how many channels there were before it.

    Zygotes run already, so that their own sockets are among them.
    """
    async with world(folder, times) as realm:
        job = await prepared(realm, name, seconds=seconds)
        for server in job.servers:
            await server.plane._workers.warm("talking")
        before = channels()
        sources = job.sources()
        await job.start(party for party in job.parties() if party not in sources)
        await job.consumer.reached(job.id, "linked")  # whoever links late hears less
        await job.start(sources)
        yield realm, job, before


@pytest.mark.parametrize("servers", [2, 3, 5])
def test_servers_talk_and_the_consumer_gets_the_mean(
    tmp_path: Path, servers: int
) -> None:
    """Between all pairs of servers, over the links that were checked."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await prepared(realm, "talking", servers)
            await job.start()

            assert await is_done(job)

            computed = [await s.reached(job.id, "computed") for s in job.servers]
            share = 3 * 64

            assert all(event.bytes_out == share * (servers - 1) for event in computed)

    asyncio.run(scenario())


def test_links_serve_the_next_job_and_nothing_is_left(tmp_path: Path) -> None:
    """A channel ends with its END, the link goes back to the pool."""

    async def scenario() -> None:
        async with running(tmp_path, "talking") as (realm, job, before):
            assert await is_done(job)

            await until_nothing_is_left(job, before)
            handshakes = [party.plane.handshakes for party in realm.parties]
            second = realm.job(
                job.servers, job.sources(), job.consumer, engine="talking"
            )
            await second.prepare()
            await second.start()

            assert await is_done(second)
            assert handshakes == [party.plane.handshakes for party in realm.parties]

            await until_nothing_is_left(second, before)

    asyncio.run(scenario())


def test_a_worker_that_does_not_read_is_waited_for(tmp_path: Path) -> None:
    """Data that wait for longer than a peer may be silent lose neither link nor byte.

    24 MiB are far more than all buffers on the way hold.
    """

    async def scenario() -> None:
        async with running(tmp_path, "chatty", SHORT) as (_, job, before):
            assert await is_done(job)

            await until_nothing_is_left(job, before)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["crashing", "raising", "hungry"])
def test_a_worker_that_fails_ends_the_job_for_all(tmp_path: Path, name: str) -> None:
    """Everybody names the server where it happened; nothing is left behind."""

    async def scenario() -> None:
        async with running(tmp_path, name) as (_, job, before):
            failures = [
                await party.failed(job.id) for party in (*job.servers, job.consumer)
            ]
            await until_nothing_is_left(job, before)

            bad = job.servers[BAD_PARTY].name

            assert [(failure.code, failure.peer) for failure in failures] == [
                (FailureCode.ENGINE, bad)
            ] * 4
            assert not any(CANARY in failure.reason for failure in failures)

    asyncio.run(scenario())


def test_a_worker_that_hangs_is_killed_at_the_deadline(tmp_path: Path) -> None:
    """No server computes on for a job that is over."""

    async def scenario() -> None:
        async with running(tmp_path, "hanging", seconds=4.0) as (_, job, before):
            failures = [await server.failed(job.id) for server in job.servers]
            await until_nothing_is_left(job, before)

            assert {failure.code for failure in failures} == {FailureCode.DEADLINE}

    asyncio.run(scenario())


def test_a_cancelled_job_leaves_nothing(tmp_path: Path) -> None:
    """At the server that stops, at once; at the others with what it said."""

    async def scenario() -> None:
        async with running(tmp_path, "hanging") as (_, job, before):
            await until_they_run(job)
            first, *others = job.servers
            await first.tell(
                StopJob(job=job.id, code=FailureCode.CANCELLED, discard=True)
            )
            failures = [await server.failed(job.id) for server in others]
            await until_nothing_is_left(job, before)

            assert {failure.code for failure in failures} == {FailureCode.CANCELLED}
            assert {failure.peer for failure in failures} == {first.name}

    asyncio.run(scenario())


def test_a_lost_server_ends_the_others_workers(tmp_path: Path) -> None:
    """Within what a peer may be silent, and by its name."""

    async def scenario() -> None:
        async with running(tmp_path, "hanging") as (_, job, before):
            await until_they_run(job)
            lost = job.servers[2]
            served = lost.plane._jobs._running[job.id].job  # type: ignore[union-attr]  # it runs
            assert isinstance(served, ServerJob)
            for link in served._peers._links.values():
                link._live().abort()
            failures = [await server.failed(job.id) for server in job.servers[:2]]

            assert {failure.code for failure in failures} <= {
                FailureCode.PARTY_LOST,
                FailureCode.TRUNCATED,
            }
            assert {failure.peer for failure in failures} == {lost.name}

            await until_nothing_is_left(job, before)

    asyncio.run(scenario())


def test_a_killed_zygote_ends_its_jobs_and_serves_the_next(tmp_path: Path) -> None:
    """By the name of its server; the next job has a new one."""

    async def scenario() -> None:
        async with running(tmp_path, "hanging") as (realm, job, _):
            await until_they_run(job)
            os.kill(zygote(job.servers[0]), signal.SIGKILL)
            failures = [await server.failed(job.id) for server in job.servers]

            assert {failure.code for failure in failures} == {FailureCode.ENGINE}
            assert {failure.peer for failure in failures} == {job.servers[0].name}

            second = realm.job(
                job.servers, job.sources(), job.consumer, engine="talking"
            )
            await second.prepare()
            await second.start()

            assert await is_done(second)

    asyncio.run(scenario())


@asynccontextmanager
async def greeted(
    folder: Path, name: str, times: Times | None = None
) -> AsyncIterator[tuple[Job, RawLink]]:
    """Give a job of two servers, and the first one's link to the second, by hand."""
    async with world(folder, times) as realm:
        job = await prepared(realm, name, servers=2)
        await job.start([*job.sources(), job.consumer, job.servers[1]])
        async with dialled(job.servers[0], job.servers[1]) as link:
            link.send(FrameType.PEER_HELLO, greeting(job))
            await link.expect(FrameType.PEER_HELLO)
            yield job, link


def greeting(job: Job) -> bytes:
    """Return the first server's peer.hello to the second."""
    peered = PeeredJob(
        party=0,
        realm=REALM,
        job=job.id,
        epoch=job.epoch,
        manifest_hash=job.manifest_hash,
        servers={},
    )
    return peer_hello(peered, 1)


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("cut off", FailureCode.TRUNCATED),
        ("lost", FailureCode.PARTY_LOST),
        ("count", FailureCode.TRUNCATED),
        ("early DONE", FailureCode.LINK_FAILED),
        ("data after END", FailureCode.LINK_FAILED),
        ("abort", FailureCode.ENGINE),
    ],
)
def test_a_peer_that_breaks_the_rules_ends_the_job(
    tmp_path: Path, case: str, code: FailureCode
) -> None:
    """With the code that says how, and its name."""

    async def scenario() -> None:
        async with greeted(tmp_path, "hanging") as (job, link):
            if case not in {"lost", "early DONE", "abort"}:
                link.send(FrameType.DATA, b"data")
            if case in {"cut off", "lost"}:
                link.close()
            elif case == "count":
                link.send(FrameType.END, (5).to_bytes(8, "big"))
            elif case == "early DONE":
                link.send(FrameType.DONE)
            elif case == "abort":
                link.send(FrameType.ABORT, b"engine")
            else:
                link.send(FrameType.END, (4).to_bytes(8, "big"))
                link.send(FrameType.DATA, b"more")
            failure = await job.servers[1].failed(job.id)

            assert (failure.code, failure.peer) == (code, job.servers[0].name)

    asyncio.run(scenario())


def test_a_worker_that_dies_with_unread_data_is_no_failed_link(tmp_path: Path) -> None:
    """The peer hears that the computation failed, whatever the socket says."""

    async def scenario() -> None:
        async with world(tmp_path, Times()) as realm:
            job = await prepared(realm, "crashing", servers=2)
            server = job.servers[BAD_PARTY]
            await server.plane._workers.warm("crashing")
            await job.start([job.consumer, server])
            async with dialled(job.servers[0], server) as link:
                link.send(FrameType.PEER_HELLO, greeting(job))
                await link.expect(FrameType.PEER_HELLO)
                link.send(FrameType.DATA, b"nobody reads this")
                await job.start(job.sources())
                abort = await link.expect(FrameType.ABORT)
                failure = await server.failed(job.id)

                assert abort.body == b"engine"
                assert (failure.code, failure.peer) == (
                    FailureCode.ENGINE,
                    server.name,
                )

    asyncio.run(scenario())


def test_a_peer_that_is_lost_while_its_data_wait_is_noticed(tmp_path: Path) -> None:
    """A worker that reads nothing must not hide that nobody is there any more.

    The end of the connection waits behind data that are not read; a PING finds it.
    """

    async def scenario() -> None:
        async with greeted(tmp_path, "hanging", SHORT) as (job, link):
            link.send_block(bytes(16 << 20))
            await asyncio.sleep(1)  # every buffer on the way is full
            link.close()
            failure = await job.servers[1].failed(job.id)

            assert (failure.code, failure.peer) == (
                FailureCode.TRUNCATED,
                job.servers[0].name,
            )

    asyncio.run(scenario())


def test_31_data_between_servers_that_need_none_close_the_link(tmp_path: Path) -> None:
    """The wire of an engine that does not talk is as it was."""

    async def scenario() -> None:
        async with greeted(tmp_path, "additive") as (job, link):
            link.send(FrameType.DATA, b"data")
            failure = await job.servers[1].failed(job.id)

            assert (failure.code, failure.peer) == (
                FailureCode.LINK_FAILED,
                job.servers[0].name,
            )

    asyncio.run(scenario())


def test_31_data_before_the_hello_close_the_link(tmp_path: Path) -> None:
    """No byte of them reaches an engine; the server itself comes through."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await prepared(realm, "talking", servers=2)
            await job.start(
                party for party in job.parties() if party is not job.servers[0]
            )
            async with dialled(job.servers[0], job.servers[1]) as link:
                link.send(FrameType.DATA, b"data")

                assert await link.is_refused()
            async with dialled(job.servers[0], job.servers[1]) as link:
                link.send(FrameType.PEER_HELLO, greeting(job))
                link.send(FrameType.DATA, b"data")

                assert await link.is_refused()
            await job.start([job.servers[0]])

            assert await is_done(job)

    asyncio.run(scenario())


def test_a_second_link_cannot_take_over_a_channel(tmp_path: Path) -> None:
    """Data may be under way on the first one."""

    async def scenario() -> None:
        async with greeted(tmp_path, "hanging") as (job, first):
            async with dialled(job.servers[0], job.servers[1]) as second:
                second.send(FrameType.PEER_HELLO, greeting(job))

                assert await second.is_refused()
            first.send(FrameType.ABORT, b"cancelled")
            failure = await job.servers[1].failed(job.id)

            assert failure.code is FailureCode.CANCELLED

    asyncio.run(scenario())


def test_55_a_worker_has_channels_of_checked_links_only(tmp_path: Path) -> None:
    """Whoever is not the expected peer cannot talk to an engine.

    An engine has no socket that leads out of its machine: one local channel a peer
    and one for its task. What is at the other ends of these was checked in
    peer.hello; a stranger and a peer under another's index are refused there.
    """

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await prepared(realm, "nosy")
            stranger = job.sources()[0]
            await job.start(job.servers[1:2])
            for liar in (stranger, job.servers[2]):
                async with dialled(liar, job.servers[1]) as link:
                    link.send(FrameType.PEER_HELLO, greeting(job))
                    link.send(FrameType.DATA, b"for the engine")

                    assert await link.is_refused()
            assert workers(job.servers[1]) == []

            await job.start(p for p in job.parties() if p is not job.servers[1])

            await job.consumer.reached(job.id, "delivered")
            nosy = engine("nosy")
            assert isinstance(nosy, Nosy)
            assert [told["peers"] for told in nosy.told] == [[1, 2], [0, 2], [0, 1]]
            assert all(told["sockets"] == 3 for told in nosy.told)
            assert all(told["families"] == [socket.AF_UNIX] for told in nosy.told)

    asyncio.run(scenario())
