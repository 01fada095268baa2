"""Links: kept warm, renewed, watched, and given up when their peer is gone."""

import asyncio
from datetime import timedelta
from pathlib import Path

from participant.dataplane.frames import FrameType, encode_frame
from participant.dataplane.ipc import Revoke
from participant.dataplane.pool import MAX_IDLE
from participant.dataplane.server_job import ServerJob
from participant.dataplane.times import Times
from shared.errors import FailureCode
from tests.integration.dataplane_raw import dialled
from tests.integration.dataplane_realm import Job, Party, World, world

LIVELY = Times(
    ping_after=timedelta(milliseconds=100), dead_after=timedelta(milliseconds=400)
)


async def small_job(realm: World) -> Job:
    """Return a prepared job of two servers, a source and a consumer."""
    servers = await realm.servers(2)
    source = await realm.source("Hospital001", [1, 2])
    job = realm.job(servers, [source], await realm.source("Liberty001", []))
    await job.prepare()
    return job


async def done(job: Job) -> None:
    """Run a prepared job to its end, the links' included."""
    await job.start()
    for party in job.parties():
        await party.reached(job.id, "delivered")
    await asyncio.sleep(0.2)  # the last DONE is off the critical path


async def again(realm: World, job: Job) -> Job:
    """Run a second job of the same parties."""
    second = realm.job(job.servers, job.sources(), job.consumer)
    await second.prepare()
    await done(second)
    return second


def dialled_links(realm: World) -> int:
    """Return how many links all parties dialled so far."""
    return sum(party.plane.handshakes for party in realm.parties)


def test_silent_but_living_peers_are_kept(tmp_path: Path) -> None:
    """A long wait inside a job is bridged by PING and PONG."""

    async def scenario() -> None:
        async with world(tmp_path, LIVELY) as realm:
            job = await small_job(realm)
            late = job.sources()[0]
            await job.start(party for party in job.parties() if party is not late)
            await asyncio.sleep(1.2)
            await job.start([late])
            await job.consumer.reached(job.id, "delivered")

            assert job.result()["n"] == 2

    asyncio.run(scenario())


def test_peer_that_answers_no_ping_is_lost(tmp_path: Path) -> None:
    """A hanging process, or a cut cable, is noticed in bounded time."""

    async def scenario() -> None:
        async with world(tmp_path, LIVELY) as realm:
            job = await small_job(realm)
            source, server = job.sources()[0], job.servers[0]
            await job.start(job.servers)
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                await link.is_admitted(link.call(job, source, ticket))
                await link.expect(FrameType.PING)
                failure = await server.failed(job.id)

            assert failure.code is FailureCode.PARTY_LOST
            assert failure.peer == source.name

    asyncio.run(scenario())


def test_ping_is_answered_in_a_job(tmp_path: Path) -> None:
    """Either side may ask whether the other is alive."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            source, server = job.sources()[0], job.servers[0]
            await job.start(job.servers)
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                await link.is_admitted(link.call(job, source, ticket))
                link.send(FrameType.PING)
                await link.expect(FrameType.PONG)

    asyncio.run(scenario())


def test_peer_that_floods_with_pings_is_dropped(tmp_path: Path) -> None:
    """Answers that nobody needs do not pile up."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            source, server = job.sources()[0], job.servers[0]
            await job.start(job.servers)
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                await link.is_admitted(link.call(job, source, ticket))
                link.send_bytes(encode_frame(FrameType.PING) * 1000)
                failure = await server.failed(job.id)

            assert failure.peer == source.name

    asyncio.run(scenario())


def test_at_most_two_idle_links_are_kept_a_pair(tmp_path: Path) -> None:
    """Many jobs at once open many links; the peak is not kept."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            first = await small_job(realm)
            jobs = [first] + [
                realm.job(first.servers, first.sources(), first.consumer)
                for _ in range(5)
            ]
            await asyncio.gather(*(job.prepare() for job in jobs[1:]))
            await asyncio.gather(*(done(job) for job in jobs))
            for party in realm.parties:
                for idle in party.plane._pool._idle.values():
                    assert len(idle) <= MAX_IDLE

    asyncio.run(scenario())


def test_old_links_are_not_used_again(tmp_path: Path) -> None:
    """A link's life is bounded, so that one TLS key covers little."""

    async def scenario() -> None:
        async with world(tmp_path, Times(link_life=timedelta(seconds=0.5))) as realm:
            job = await small_job(realm)
            await done(job)
            before = dialled_links(realm)
            await asyncio.sleep(0.5)
            for party in realm.parties:
                assert not any(party.plane._pool._idle.values())

            second = await again(realm, job)

            assert second.result()["n"] == 2
            assert dialled_links(realm) == 2 * before

    asyncio.run(scenario())


def test_link_that_its_server_dropped_is_replaced(tmp_path: Path) -> None:
    """A pooled link may be dead; the job does not notice."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            await done(job)
            pooled = [
                link
                for party in realm.parties
                for idle in party.plane._pool._idle.values()
                for link in idle
            ]
            for link in pooled:
                link._live().pause_reading()  # it does not see the EOF yet
            for server in job.servers:
                assert server.plane._listener is not None

                for task in server.plane._listener._serving:
                    task.cancel()
            before = dialled_links(realm)
            second = realm.job(job.servers, job.sources(), job.consumer)
            await second.prepare()
            await second.start()
            await asyncio.sleep(0.2)
            for link in pooled:
                link._live().resume_reading()
            await second.consumer.reached(second.id, "delivered")

            assert second.result()["n"] == 2
            assert dialled_links(realm) == before + len(pooled)

    asyncio.run(scenario())


def test_job_of_the_old_session_finds_the_old_leaf(tmp_path: Path) -> None:
    """A session that was renewed after the manifest was made harms nothing."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            orders = [(party, job.order(party)) for party in job.parties()]
            for party in job.parties():
                await party.log_in()
            for party, order in orders:
                await party.tell(order)
            await job.consumer.reached(job.id, "delivered")

            assert job.result()["n"] == 2

            second = await again(realm, job)

            assert second.result()["n"] == 2

    asyncio.run(scenario())


def test_early_request_for_a_job_that_never_comes_is_dropped(tmp_path: Path) -> None:
    """Holding is bounded in time."""

    async def scenario() -> None:
        async with world(tmp_path, Times(hold=timedelta(seconds=0.2))) as realm:
            job = await small_job(realm)
            source, server = job.sources()[0], job.servers[0]
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                link.ask(link.call(job, source, ticket))

                assert await link.is_refused()

            await job.start([source])
            failure = await source.failed(job.id)

            assert failure.code is FailureCode.LINK_FAILED

    asyncio.run(scenario())


def test_connection_that_shows_nothing_is_closed(tmp_path: Path) -> None:
    """Five seconds, here less, from accept to the first frame."""

    async def scenario() -> None:
        times = Times(first_frame=timedelta(seconds=0.3))
        async with world(tmp_path, times) as realm:
            job = await small_job(realm)
            async with dialled(job.sources()[0], job.servers[0]) as link:
                assert await link.is_refused()

    asyncio.run(scenario())


def test_second_link_of_a_client_replaces_the_first(tmp_path: Path) -> None:
    """An ap.rep that was lost is asked for again with the same ticket."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            source, server = job.sources()[0], job.servers[0]
            await job.start(job.servers)
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as first:
                await first.is_admitted(first.call(job, source, ticket))
                async with dialled(source, server) as second:
                    await second.is_admitted(second.call(job, source, ticket))

                    assert await first.receive() is None

                    second.send_block(bytes(3 * 64))
                    second.send(FrameType.DONE)
                    await second.expect(FrameType.DONE)

            running = server.plane._jobs._running[job.id].job  # type: ignore[union-attr]  # it is configured
            assert isinstance(running, ServerJob)

            assert running._missing_input() is None

    asyncio.run(scenario())


def test_hello_comes_first_and_its_nonce_is_fresh(tmp_path: Path) -> None:
    """No two links share a nonce."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            nonces = set()
            for _ in range(3):
                async with dialled(job.consumer, job.servers[0]) as link:
                    nonces.add(link.nonce)

            assert len(nonces) == 3

    asyncio.run(scenario())


def test_party_without_a_way_to_a_server_says_so(tmp_path: Path) -> None:
    """No address, a closed port: at once, and by name."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            source: Party = job.sources()[0]
            await job.servers[0].plane.close()
            await source.tell(job.order(source))
            failure = await source.failed(job.id)

            assert failure.code is FailureCode.LINK_FAILED
            assert failure.peer == job.servers[0].name
            assert f"127.0.0.1:{job.servers[0].port}" in failure.reason

    asyncio.run(scenario())


def test_50_links_with_a_revoked_peer_end_and_none_stands_again(tmp_path: Path) -> None:
    """Those that are kept warm, those in a job, and whatever it dials next."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            source, server = job.sources()[0], job.servers[0]
            await done(job)
            async with dialled(source, server) as link:
                await server.tell(Revoke(principals=(source.name,)))
                assert await link.is_refused()
            second = realm.job(job.servers, job.sources(), job.consumer)
            await second.prepare()
            await second.start()
            failure = await source.failed(second.id)
            assert failure.code is FailureCode.LINK_FAILED
            assert failure.peer == server.name

            await server.tell(Revoke(principals=()))
            assert (await again(realm, job)).result()["n"] == 2

    asyncio.run(scenario())


def test_50_a_revoked_server_gets_no_link_from_another(tmp_path: Path) -> None:
    """Diallers look as closely as listeners."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await small_job(realm)
            source, server = job.sources()[0], job.servers[0]
            await done(job)
            await source.tell(Revoke(principals=(server.name,)))
            second = realm.job(job.servers, job.sources(), job.consumer)
            await second.prepare()
            await second.start()
            failure = await source.failed(second.id)

            assert failure.peer == server.name
            assert "revoked" in failure.reason

    asyncio.run(scenario())
