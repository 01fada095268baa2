"""Jobs on the data plane: MPC servers, sources, a consumer, real TCP and TLS."""

import asyncio
import stat
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from participant.dataplane.client_job import ClientJob
from participant.dataplane.ipc import (
    Configure,
    ConfigureFailed,
    JobFailed,
    JobProgress,
    Prepare,
    PrepareFailed,
    StopJob,
)
from participant.dataplane.server_job import ServerJob
from participant.dataplane.times import Times
from shared.errors import FailureCode, RefusalCode
from shared.names import Principal, Role
from tests.integration.dataplane_realm import Job, Party, World, now_ms, world


async def hospitals(realm: World) -> list[Party]:
    """Return two sources with five rows together, of mean 3.2."""
    return [
        await realm.source("Hospital001", [1, 2, 3]),
        await realm.source("Hospital002", [4, 6]),
    ]


async def whole_job(realm: World, servers: int = 3) -> Job:
    """Return a job of so many servers, two sources and a consumer, prepared."""
    consumer = await realm.source("Liberty001", [])
    job = realm.job(await realm.servers(servers), await hospitals(realm), consumer)
    await job.prepare()
    return job


async def everybody_delivered(job: Job) -> None:
    """Wait until every party is done."""
    for party in job.parties():
        await party.reached(job.id, "delivered")


def phases(party: Party) -> Sequence[str]:
    """Return the phases that a party reported."""
    return [event.phase for event in party.events if isinstance(event, JobProgress)]


def test_consumer_gets_the_mean_of_all_sources(tmp_path: Path) -> None:
    """The walk of one job from prepared data to the written result."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            await job.start()
            await everybody_delivered(job)
            delivered = await job.consumer.reached(job.id, "delivered")
            path = Path(delivered.result or "")
            mode = stat.S_IMODE(path.stat().st_mode)  # noqa: ASYNC240 - one small file

            assert job.result() == {"sources": 2, "n": 5, "mean": {"age": 3.2}}
            assert mode == 0o600
            assert phases(job.consumer) == ["linked", "delivered"]
            assert phases(job.sources()[0]) == ["linked", "running", "delivered"]
            for server in job.servers:
                assert phases(server)[-2:] == ["computed", "delivered"]
                assert not (server.folder / job.id.hex()).exists()

    asyncio.run(scenario())


def test_one_client_gives_data_and_gets_the_result(tmp_path: Path) -> None:
    """A client of io in/output uses one link and one ticket for both ways."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            both = await realm.source("Liberty001", [10])
            job = realm.job(
                await realm.servers(2), [*await hospitals(realm), both], both
            )
            await job.prepare()
            await job.start()
            await everybody_delivered(job)

            assert job.result()["n"] == 6
            assert both.plane.handshakes == 2

    asyncio.run(scenario())


def test_second_job_opens_no_new_link(tmp_path: Path) -> None:
    """Links go back to the pool: the second job costs no TLS handshake."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            await job.start()
            await everybody_delivered(job)
            await asyncio.sleep(0.2)  # peers' DONE is echoed off the critical path
            before = [party.plane.handshakes for party in realm.parties]
            second = realm.job(job.servers, job.sources(), job.consumer)
            await second.prepare()
            await second.start()
            await everybody_delivered(second)
            after = [party.plane.handshakes for party in realm.parties]

            assert second.result()["n"] == 5
            assert before == after
            assert sum(before) == 3 + 3 * 3

    asyncio.run(scenario())


def test_twenty_jobs_run_at_once_over_one_address(tmp_path: Path) -> None:
    """A link that had to make room, as too many came at once, is dialled again."""

    async def scenario() -> None:
        async with world(
            tmp_path, Times(eviction=timedelta(milliseconds=300))
        ) as realm:
            first = await whole_job(realm)
            jobs = [first] + [
                realm.job(first.servers, first.sources(), first.consumer)
                for _ in range(19)
            ]
            await asyncio.gather(*(job.prepare() for job in jobs[1:]))
            await asyncio.gather(*(job.start() for job in jobs))
            for job in jobs:
                await everybody_delivered(job)

                assert job.result()["n"] == 5

    asyncio.run(scenario())


def test_clients_that_come_before_their_servers_know_the_job_are_held(
    tmp_path: Path,
) -> None:
    """A fan-out arrives unevenly; nobody fails for it."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            clients = [party for party, _ in job.clients.values()]
            await job.start(clients)
            await job.start(job.servers[:1])
            await asyncio.sleep(0.3)

            assert not any(phases(party) for party in job.parties())

            await job.start(job.servers[1:])
            await everybody_delivered(job)

    asyncio.run(scenario())


def cut(party: Party, job: Job) -> None:
    """Break every connection that a party has in a job, as a crash does."""
    running = party.plane._jobs._running[job.id].job  # type: ignore[union-attr]  # it runs
    if isinstance(running, ServerJob):
        links = [*running._sessions.values(), *running._peers._links.values()]
    else:
        assert isinstance(running, ClientJob)
        links = list(running._links)
    for link in links:
        link._live().abort()


def test_loss_of_a_server_fails_the_job_everywhere_at_once(tmp_path: Path) -> None:
    """A party that waits for a dead one says so within a second, and which one."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            late = job.sources()[0]
            lost = job.servers[2]
            await job.start(party for party in job.parties() if party is not late)
            await job.consumer.reached(job.id, "linked")
            await asyncio.sleep(0.1)
            begun = asyncio.get_running_loop().time()
            cut(lost, job)
            failures = [
                await party.failed(job.id) for party in (*job.servers[:2], job.consumer)
            ]
            elapsed = asyncio.get_running_loop().time() - begun

            assert elapsed < 1
            assert all(failure.code is FailureCode.PARTY_LOST for failure in failures)
            assert all(failure.peer == lost.name for failure in failures)

    asyncio.run(scenario())


def test_loss_of_a_source_names_it_at_every_server(tmp_path: Path) -> None:
    """Whoever only hears of it from a server waits for the server's own report."""

    async def scenario() -> None:
        async with world(tmp_path, Times(abort_grace=timedelta(seconds=2))) as realm:
            job = await whole_job(realm)
            both = await realm.source("Liberty002", [1])
            waiting = realm.job(job.servers, [*job.sources(), both], both)
            await waiting.prepare()
            late = waiting.sources()[0]
            await waiting.start(p for p in waiting.parties() if p is not late)
            await both.reached(waiting.id, "linked")
            await asyncio.sleep(0.1)
            cut(both, waiting)
            failures = [await server.failed(waiting.id) for server in job.servers]

            assert all(failure.code is FailureCode.PARTY_LOST for failure in failures)
            assert all(failure.peer == both.name for failure in failures)

    asyncio.run(scenario())


def test_loss_of_the_consumer_after_the_computation_fails_no_server(
    tmp_path: Path,
) -> None:
    """The sealed share waits for a consumer that comes later."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            await job.start(p for p in job.parties() if p is not job.consumer)
            for server in job.servers:
                await server.reached(job.id, "computed")
            await job.start([job.consumer])
            await everybody_delivered(job)

            assert job.result()["n"] == 5

    asyncio.run(scenario())


def test_party_that_never_links_fails_the_job_by_name(tmp_path: Path) -> None:
    """Nothing waits for ever for a party that does not come."""

    async def scenario() -> None:
        async with world(tmp_path, Times(linking=timedelta(seconds=0.5))) as realm:
            job = await whole_job(realm)
            late = job.sources()[1]
            await job.start(p for p in job.parties() if p is not late)
            failures = [await server.failed(job.id) for server in job.servers]

            assert all(failure.code is FailureCode.LINK_FAILED for failure in failures)
            assert all(failure.peer == late.name for failure in failures)

    asyncio.run(scenario())


def test_deadline_bounds_every_party(tmp_path: Path) -> None:
    """A job that is not done at its deadline has failed, everywhere."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            whole = await whole_job(realm)
            job = realm.job(whole.servers, whole.sources(), whole.consumer, seconds=1.0)
            await job.prepare()
            late = job.sources()[1]
            await job.start(p for p in job.parties() if p is not late)
            failures = [
                await party.failed(job.id) for party in (*job.servers, job.consumer)
            ]

            assert FailureCode.DEADLINE in {failure.code for failure in failures}
            assert late.name in {failure.peer for failure in failures}

    asyncio.run(scenario())


def test_server_that_nobody_fetches_from_gives_up_at_the_results_end(
    tmp_path: Path,
) -> None:
    """A sealed share is deleted when its time is over."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            expiry = now_ms() + 1500
            for party in job.parties():
                if party is not job.consumer:
                    await party.tell(job.order(party, result_exp=expiry))
            for server in job.servers:
                await server.reached(job.id, "computed")

                assert (server.folder / job.id.hex() / "share").exists()

            for server in job.servers:
                failure = await server.failed(job.id)

                assert failure.code is FailureCode.RESULT_EXPIRED
                assert not (server.folder / job.id.hex()).exists()

    asyncio.run(scenario())


def test_restarted_server_serves_the_share_on_its_disk(tmp_path: Path) -> None:
    """What was computed survives the process that computed it."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            await job.start(p for p in job.parties() if p is not job.consumer)
            for server in job.servers:
                await server.reached(job.id, "computed")
                await server.plane.close()
                server.events.clear()
                server.__post_init__()
                await server.start()
                await server.tell(job.order(server, fetch_only=True))
            await job.consumer.tell(job.order(job.consumer, fetch_only=True))
            await job.consumer.reached(job.id, "delivered")
            for server in job.servers:
                await server.reached(job.id, "delivered")

            assert job.result()["n"] == 5

    asyncio.run(scenario())


def test_shares_on_disk_are_used_without_the_network(tmp_path: Path) -> None:
    """A consumer that was killed after its ACK still gets its result."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            await job.start(p for p in job.parties() if p is not job.consumer)
            shares = job.consumer.folder / job.id.hex() / "shares"
            shares.mkdir(parents=True)
            for server in job.servers:
                await server.reached(job.id, "computed")
                share = server.folder / job.id.hex() / "share"
                (shares / server.name).write_bytes(share.read_bytes())
                await server.plane.close()
            await job.consumer.tell(job.order(job.consumer, fetch_only=True))
            await job.consumer.reached(job.id, "delivered")

            assert job.result()["n"] == 5
            assert job.consumer.plane.handshakes == 0

            job.consumer.events.clear()
            await job.consumer.tell(job.order(job.consumer, fetch_only=True))
            await job.consumer.reached(job.id, "delivered")

    asyncio.run(scenario())


def test_share_that_is_not_of_this_job_is_named(tmp_path: Path) -> None:
    """An altered share gives no wrong result; the server can be asked again."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            await job.start(p for p in job.parties() if p is not job.consumer)
            shares = job.consumer.folder / job.id.hex() / "shares"
            shares.mkdir(parents=True)
            for server in job.servers:
                await server.reached(job.id, "computed")
            wrong = job.servers[1]
            sealed = bytearray((wrong.folder / job.id.hex() / "share").read_bytes())
            sealed[-1] ^= 1
            (shares / wrong.name).write_bytes(sealed)
            await job.consumer.tell(job.order(job.consumer, fetch_only=True))
            failure = await job.consumer.failed(job.id)

            assert failure.code is FailureCode.ENGINE
            assert failure.peer == wrong.name
            assert not (shares / wrong.name).exists()

    asyncio.run(scenario())


def test_repeated_start_is_ignored_and_a_newer_epoch_replaces(tmp_path: Path) -> None:
    """A job.start may be delivered twice; a new roster ends the old one."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            await job.start(job.servers)
            await job.start(job.servers)
            job.epoch = 2
            await job.start()
            await everybody_delivered(job)

            assert job.result()["n"] == 5

    asyncio.run(scenario())


def test_stopped_job_ends_and_its_files_go(tmp_path: Path) -> None:
    """A job that was cancelled leaves nothing, and its peers learn of it."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            late = job.sources()[0]
            await job.start(p for p in job.parties() if p is not late)
            await job.consumer.reached(job.id, "linked")
            stopped = job.servers[0]
            await stopped.tell(
                StopJob(job=job.id, code=FailureCode.CANCELLED, discard=True)
            )
            failure = await job.consumer.failed(job.id)
            await asyncio.sleep(0.1)

            assert failure.code is FailureCode.CANCELLED
            assert failure.peer == stopped.name
            assert not any(isinstance(event, JobFailed) for event in stopped.events)
            assert not (stopped.folder / job.id.hex()).exists()

    asyncio.run(scenario())


def test_refused_data_say_why_and_hold_no_value(tmp_path: Path) -> None:
    """A source whose data do not fit says so before anything is sent."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            source = await realm.source("Hospital003", [])
            (source.folder / "data.csv").write_text("age\n4711x\n")
            await source.tell(
                Prepare(
                    job=job.id,
                    epoch=1,
                    spec=job.spec.pack(),
                    path=str(source.folder / "data.csv"),
                )
            )
            refused = await source.until(lambda e: isinstance(e, PrepareFailed))
            assert isinstance(refused, PrepareFailed)

            assert refused.code is RefusalCode.NOT_NUMERIC
            assert "4711" not in refused.reason

    asyncio.run(scenario())


def test_source_that_prepared_nothing_fails_its_part(tmp_path: Path) -> None:
    """A start without the local sums is an error of ours, not a hang."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            source = job.sources()[0]
            await source.tell(
                StopJob(job=job.id, code=FailureCode.CANCELLED, discard=False)
            )
            await job.start([source])
            failure = await source.failed(job.id)

            assert failure.code is FailureCode.INTERNAL

    asyncio.run(scenario())


def test_clients_that_know_no_other_source_have_the_same_plan(tmp_path: Path) -> None:
    """Engines may need the number of sources; who they are a client is not told."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm)
            clients = [*job.sources(), job.consumer]
            plans = []
            for client in clients:
                known = tuple(
                    peer
                    for peer in job.peers()
                    if peer.role is Role.MPCS or peer.p == client.name
                )
                await client.tell(job.order(client, parties=known))
                table = client.plane._jobs
                assert table is not None
                await asyncio.sleep(0)
                running = table._running[job.id].job
                assert isinstance(running, ClientJob)
                plans.append(running._order.plan)
            await job.start(job.servers)
            await everybody_delivered(job)

            assert [plan.sources for plan in plans] == [2, 2, 2]
            assert job.result()["n"] == 5

    asyncio.run(scenario())


def test_a_server_that_is_not_told_of_a_source_takes_no_part(tmp_path: Path) -> None:
    """It would compute without that source's data."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            job = await whole_job(realm, servers=2)
            server = job.servers[0]
            await server.tell(job.order(server, sources=3))
            failure = await server.failed(job.id)

            assert failure.code is FailureCode.REFUSED

    asyncio.run(scenario())


def test_next_free_port_is_taken_on_all_addresses(tmp_path: Path) -> None:
    """One port for IPv4 and IPv6, above the asked one where that is taken."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            first = await realm.party("MPC_server_001", Role.MPCS)
            second = Party(
                Principal("MPC_server_002"),
                Role.MPCS,
                tmp_path,
                realm.authority,
                realm.times,
            )
            realm.parties.append(second)
            await second.start((f"127.0.0.1:{first.port}", f"[::1]:{first.port}"))

            assert first.port is not None
            assert second.port is not None
            assert second.port > first.port
            for host in ("127.0.0.1", "::1"):
                _, writer = await asyncio.open_connection(host, second.port)
                writer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("address", "tries", "part"),
    [
        ("203.0.113.7:1270", 1, "203.0.113.7"),
        ("::1:1270", 1, "not an address"),
        ("no.such.host.invalid:1270", 1, "no.such.host"),
    ],
)
def test_address_that_cannot_be_used_is_named(
    tmp_path: Path, address: str, tries: int, part: str
) -> None:
    """A person reads which setting is wrong."""

    async def scenario() -> None:
        async with world(tmp_path) as realm:
            party = Party(
                Principal("MPC_server_001"),
                Role.MPCS,
                tmp_path,
                realm.authority,
                realm.times,
            )
            await party.tell(
                Configure(
                    role=Role.MPCS,
                    listen=(address,),
                    port_tries=tries,
                    folder=str(tmp_path),
                )
            )
            answer = party.events[-1]
            assert isinstance(answer, ConfigureFailed)

            assert part in answer.reason

    asyncio.run(scenario())
