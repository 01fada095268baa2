"""What a server must refuse on its data port; numbers are the protocol's list."""

import asyncio
import secrets
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from participant.dataplane.frames import FrameType, encode_frame
from participant.dataplane.times import Times
from participant.dataplane.tls import server_name
from participant.engines.additive import VALUE_BYTES
from participant.protocol.ap_exchange import Call, request
from participant.protocol.peer_hello import PeeredJob, link_hello, peer_hello
from shared.crypto.certificates import CertificateAuthority, TlsKey, der_to_pem
from shared.errors import FailureCode
from shared.messages.realm import Endorsement
from shared.names import Realm, Role
from tests.integration.dataplane_raw import RawLink, dialled
from tests.integration.dataplane_realm import (
    CLOCK,
    FINGERPRINT,
    REALM,
    Job,
    Party,
    World,
    new_authority,
    now_ms,
    world,
)

BLOCK = bytes(3 * 64)
"""A share of the right size: sources, rows and one sum."""
SHORT = Times(hold=timedelta(seconds=0.3), first_frame=timedelta(seconds=2))


@asynccontextmanager
async def started(folder: Path) -> AsyncIterator[tuple[World, Job, Party, Party]]:
    """Give a job of two servers that wait for their one source and the consumer."""
    async with world(folder, SHORT) as realm:
        servers = await realm.servers(2)
        source = await realm.source("Hospital001", [1, 2])
        consumer = await realm.source("Liberty001", [])
        job = realm.job(servers, [source], consumer)
        await job.start(servers)
        yield realm, job, source, servers[0]


async def is_unharmed(job: Job) -> bool:
    """Say whether the job can still be done after what was tried."""
    await job.prepare()
    await job.start(party for party, _ in job.clients.values())
    await job.consumer.reached(job.id, "delivered")
    return job.result()["n"] == 2


def test_22_ticket_over_a_link_with_anothers_leaf_is_refused(tmp_path: Path) -> None:
    """The ticket names the leaf of its client; another client of the realm fails."""

    async def scenario() -> None:
        async with started(tmp_path) as (realm, job, source, server):
            thief = await realm.source("Mallory001", [])
            ticket, _ = job.ticket(source, server)
            async with dialled(thief, server) as link:
                link.ask(link.call(job, source, ticket))

                assert await link.is_refused()

            async with dialled(job.consumer, server) as link:
                link.ask(link.call(job, source, ticket))

                assert await link.is_refused()

            assert await is_unharmed(job)

    asyncio.run(scenario())


def test_23_wrong_session_key_is_refused(tmp_path: Path) -> None:
    """A stolen ticket and even the leaf are nothing without k_cs."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, source, server):
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                call = link.call(job, source, ticket)
                link.ask(replace(call, key=secrets.token_bytes(32)))

                assert await link.is_refused()

            assert await is_unharmed(job)

    asyncio.run(scenario())


def test_24_ticket_for_another_server_or_job_is_refused(tmp_path: Path) -> None:
    """A ticket opens at one server, in one job."""

    async def scenario() -> None:
        async with started(tmp_path) as (realm, job, source, server):
            other_server, _ = job.ticket(source, job.servers[1])
            async with dialled(source, server) as link:
                link.ask(
                    replace(link.call(job, source, other_server), server=server.name)
                )

                assert await link.is_refused()

            second = realm.job(job.servers, [source], job.consumer)
            await second.start(second.servers)
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                link.ask(link.call(second, source, ticket))

                assert await link.is_refused()

            assert await is_unharmed(job)

    asyncio.run(scenario())


def test_25_altered_or_forged_ticket_is_refused(tmp_path: Path) -> None:
    """Only what the manager sealed under this job's ticket key opens."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, source, server):
            ticket, _ = job.ticket(source, server)
            altered = bytearray(ticket.ticket)
            altered[40] ^= 1
            forged, _ = job.ticket(source, server, ticket_key=secrets.token_bytes(32))
            for presented in (bytes(altered), forged.ticket, ticket.ticket[:-1]):
                async with dialled(source, server) as link:
                    link.ask(replace(link.call(job, source, ticket), ticket=presented))

                    assert await link.is_refused()

            assert await is_unharmed(job)

    asyncio.run(scenario())


def test_26_ticket_outside_its_time_is_refused(tmp_path: Path) -> None:
    """The server's clock alone counts; the client's is never asked."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, source, server):
            for times in (
                {"nbf": 0, "exp": now_ms() - 1},
                {"nbf": now_ms() + 600_000, "exp": now_ms() + 700_000},
            ):
                ticket, _ = job.ticket(source, server, **times)
                async with dialled(source, server) as link:
                    link.ask(link.call(job, source, ticket))

                    assert await link.is_refused()

            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                answer = await link.is_admitted(link.call(job, source, ticket))

                assert answer.limits.max_bytes == 3 * VALUE_BYTES

    asyncio.run(scenario())


def context_of(
    authority: CertificateAuthority | None,
    trusted: CertificateAuthority,
    *,
    days: int = 1,
    realm: Realm = REALM,
) -> ssl.SSLContext:
    """Return a dialler's context with a leaf from this authority, or with none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=trusted.certificate_der)
    context.set_alpn_protocols(["mpx1"])
    if authority is not None:
        load_leaf(context, authority, days, realm)
    return context


def load_leaf(
    context: ssl.SSLContext, authority: CertificateAuthority, days: int, realm: Realm
) -> None:
    """Put a fresh key and a leaf for it into a context."""
    key = TlsKey.generate()
    now = CLOCK.now()
    leaf = authority.issue_leaf(
        key.spki,
        realm,
        Role.CLIENT,
        "Mallory001",  # type: ignore[arg-type]  # a principal
        now - timedelta(minutes=30),
        now + timedelta(minutes=30) * (1 if days else -0.5),
    )
    path = Path(f"/dev/shm/{secrets.token_hex(8)}.pem")
    path.write_bytes(key.private_pem + der_to_pem(leaf).encode())
    try:
        context.load_cert_chain(path)
    finally:
        path.unlink()


@pytest.mark.parametrize(
    "case", ["tls 1.2", "no leaf", "other realm", "expired", "alpn"]
)
def test_27_wrong_tls_gets_no_byte(tmp_path: Path, case: str) -> None:
    """TLS 1.2, no certificate, another authority's, an expired one: no link.hello."""

    async def scenario() -> None:
        async with started(tmp_path) as (realm, job, _, server):
            stranger = new_authority()
            context = {
                "tls 1.2": lambda: context_of(realm.authority, realm.authority),
                "no leaf": lambda: context_of(None, realm.authority),
                "other realm": lambda: context_of(stranger, realm.authority),
                "expired": lambda: context_of(realm.authority, realm.authority, days=0),
                "alpn": lambda: context_of(realm.authority, realm.authority),
            }[case]()
            if case == "tls 1.2":
                context.maximum_version = ssl.TLSVersion.TLSv1_2
            if case == "alpn":
                context.set_alpn_protocols(["http/1.1"])
            data = b""
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1",
                    server.port,
                    ssl=context,
                    server_hostname=server_name(server.spki),
                )
                async with asyncio.timeout(5):
                    data = await reader.read(1)
                writer.transport.abort()
            except (ssl.SSLError, ConnectionError):
                pass

            assert data == b""
            assert await is_unharmed(job)

    asyncio.run(scenario())


@asynccontextmanager
async def impostor(party: Party) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Listen with a party's own leaf whatever the dialler expects; keep what comes."""
    identity = party.plane._identities.of(party.spki)
    assert identity is not None
    context = identity.listener
    context.sni_callback = None  # whatever name is asked for
    received: list[bytes] = []

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(encode_frame(FrameType.LINK_HELLO, link_hello(bytes(16))))
        try:
            while data := await reader.read(1 << 16):
                received.append(data)
        except (ConnectionError, ssl.SSLError):
            pass
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], received
    finally:
        server.close()
        await asyncio.sleep(0.05)


def test_28_29_another_leaf_at_the_servers_address_gets_no_byte(tmp_path: Path) -> None:
    """Another party of the job, with its valid leaf, is not the server."""

    async def scenario() -> None:
        async with world(tmp_path, SHORT) as realm:
            servers = await realm.servers(2)
            source = await realm.source("Hospital001", [1, 2])
            consumer = await realm.source("Liberty001", [])
            job = realm.job(servers, [source], consumer)
            await job.prepare()
            async with impostor(servers[1]) as (port, received):
                true_port, servers[0].port = servers[0].port, port
                await job.start([source])
                failure = await source.failed(job.id)
                servers[0].port = true_port

            assert failure.code is FailureCode.LINK_FAILED
            assert failure.peer == servers[0].name
            assert not received

    asyncio.run(scenario())


def test_30_recorded_request_is_worth_nothing(tmp_path: Path) -> None:
    """On a second link the nonce differs, on the same one too; the ticket is spent."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, source, server):
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as first:
                call = first.call(job, source, ticket)
                recorded = first.ask(call)
                await first.expect(FrameType.AP_REP)
                async with dialled(source, server) as second:
                    second.send(FrameType.AP_REQ, recorded)

                    assert await second.is_refused()

                first.send_block(BLOCK)
                first.send(FrameType.DONE)
                await first.expect(FrameType.DONE)
                first.send(FrameType.AP_REQ, recorded)

                assert await first.is_refused()

            async with dialled(source, server) as third:
                third.ask(third.call(job, source, ticket))

                assert await third.is_refused()

    asyncio.run(scenario())


def test_31_frames_out_of_order_close_the_link(tmp_path: Path) -> None:
    """No ap.req with a guessed nonce, no second one, no DATA before the ap.rep."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, source, server):
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                link.nonce = bytes(16)
                link.ask(link.call(job, source, ticket))

                assert await link.is_refused()

            for after in (FrameType.AP_REQ, FrameType.DATA, FrameType.PING):
                async with dialled(source, server) as link:
                    call = link.call(job, source, ticket)
                    asked = encode_frame(
                        FrameType.AP_REQ, _request(link, call)
                    ) + encode_frame(after, b"" if after is FrameType.PING else b"x")
                    link.send_bytes(asked)

                    assert await link.is_refused()

            async with dialled(source, server) as link:
                link.send(FrameType.DATA, b"x")

                assert await link.is_refused()

            assert await is_unharmed(job)

    asyncio.run(scenario())


def _request(link: RawLink, call: Call) -> bytes:
    """Return an ap.req that is not sent yet."""
    return request(call, link.facts, link.nonce, bytes(16))


def test_32_data_without_their_end_fail_the_job(tmp_path: Path) -> None:
    """What was cut off is never computed on."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, source, server):
            ticket, _ = job.ticket(source, server)
            async with dialled(source, server) as link:
                await link.is_admitted(link.call(job, source, ticket))
                link.send(FrameType.DATA, BLOCK[:100])
                await asyncio.sleep(0.1)
            failure = await server.failed(job.id)

            assert failure.code is FailureCode.TRUNCATED
            assert failure.peer == source.name

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "case", ["length 0", "length max", "type", "surplus", "too few", "short END"]
)
def test_33_malformed_frames_close_the_link(tmp_path: Path, case: str) -> None:
    """A length is judged before its bytes are waited for; an END must fit."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, source, server):
            ticket, _ = job.ticket(source, server)
            tracemalloc.start()
            async with dialled(source, server) as link:
                await link.is_admitted(link.call(job, source, ticket))
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                if case == "length 0":
                    link.send_bytes(bytes(4))
                elif case == "length max":
                    link.send_bytes(b"\xff" * 4)
                elif case == "type":
                    link.send_bytes(b"\x00\x00\x00\x01\x0b")
                elif case == "short END":
                    link.send(FrameType.DATA, BLOCK)
                    link.send_bytes(b"\x00\x00\x00\x05\x05\x00\x00\x00\x02")
                else:
                    link.send(FrameType.DATA, BLOCK)
                    count = len(BLOCK) + (1 if case == "too few" else -1)
                    link.send(FrameType.END, count.to_bytes(8, "big"))

                assert await link.is_refused() or case in {"surplus", "too few"}

                _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            failure = await server.failed(job.id)

            assert peak - before < 4 << 20
            assert failure.peer == source.name

    asyncio.run(scenario())


def greeting(job: Job, party: int, **changes: object) -> bytes:
    """Return a peer.hello to the server with index 1."""
    values = {"epoch": job.epoch, "manifest_hash": job.manifest_hash, **changes}
    peered = PeeredJob(party=party, realm=REALM, job=job.id, servers={}, **values)  # type: ignore[arg-type]  # the two above
    return peer_hello(peered, 1)


def test_34_peer_that_is_not_who_it_says_is_refused(tmp_path: Path) -> None:
    """Neither a server outside the manifest nor one under another's index links."""

    async def scenario() -> None:
        async with world(tmp_path, SHORT) as realm:
            servers = await realm.servers(3)
            stranger = await realm.party("MPC_server_004", Role.MPCS)
            source = await realm.source("Hospital001", [1, 2])
            job = realm.job(servers, [source], await realm.source("Liberty001", []))
            await job.start([servers[1]])
            for liar, index in (
                (stranger, 0),
                (servers[2], 0),
                (servers[2], 2),
                (source, 0),
            ):
                async with dialled(liar, servers[1]) as link:
                    link.send(FrameType.PEER_HELLO, greeting(job, index))

                    assert await link.is_refused()

            await job.start([servers[0], servers[2]])

            assert await is_unharmed(job)

    asyncio.run(scenario())


def test_35_different_manifests_abort_both_servers(tmp_path: Path) -> None:
    """Two rosters of one job are seen by the servers before any data flow."""

    async def scenario() -> None:
        async with world(tmp_path, SHORT) as realm:
            servers = await realm.servers(2)
            source = await realm.source("Hospital001", [1, 2])
            job = realm.job(servers, [source], await realm.source("Liberty001", []))
            await servers[0].tell(job.order(servers[0]))
            await servers[1].tell(
                job.order(servers[1], manifest_hash=secrets.token_bytes(32))
            )
            failures = [await server.failed(job.id) for server in servers]

            assert all(f.code is FailureCode.ROSTER_MISMATCH for f in failures)
            assert [failures[0].peer, failures[1].peer] == [
                servers[1].name,
                servers[0].name,
            ]

    asyncio.run(scenario())


@pytest.mark.slow
def test_36_idle_sockets_do_not_keep_an_honest_peer_out(tmp_path: Path) -> None:
    """Who shows nothing makes room for others."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, _, server):
            assert server.port is not None
            idle = [
                socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)
            ]
            try:
                begun = asyncio.get_running_loop().time()

                assert await is_unharmed(job)
                assert asyncio.get_running_loop().time() - begun < 5
            finally:
                for connection in idle:
                    connection.close()

    asyncio.run(scenario())


def test_60_another_partys_leaf_with_a_stolen_ticket_gets_no_result(
    tmp_path: Path,
) -> None:
    """Neither data nor results go to a leaf that its client did not endorse."""

    async def scenario() -> None:
        async with started(tmp_path) as (_, job, source, server):
            ticket, body = job.ticket(job.consumer, server, cnf_c=source.spki)
            async with dialled(source, server) as link:
                call = link.call(job, job.consumer, ticket)
                link.ask(call)

                assert await link.is_refused()

            endorse = Endorsement(
                v=1,
                realm=FINGERPRINT,
                p=job.consumer.name,
                role=Role.CLIENT,
                spki=source.spki,
                addrs=(),
                nbf=now_ms() - 1000,
                exp=now_ms() + 60_000,
            ).pack()
            signature = source.sig.sign(b"MPX1-endorse\0", endorse)
            async with dialled(source, server) as link:
                call = replace(
                    link.call(job, job.consumer, ticket),
                    endorse=endorse,
                    endorse_sig=signature,
                )
                link.ask(call)

                assert await link.is_refused()
                assert body.cnf_c == source.spki

            assert await is_unharmed(job)

    asyncio.run(scenario())


def test_63_killed_consumer_fetches_with_a_new_leaf_and_nobody_else_does(
    tmp_path: Path,
) -> None:
    """The result waits for its consumer, whatever TLS key that has by then."""

    async def scenario() -> None:
        async with started(tmp_path) as (realm, job, source, server):
            await job.prepare()
            await job.start([source])
            for one in job.servers:
                await one.reached(job.id, "computed")
            other = await realm.source("Mallory001", [])
            ticket, _ = job.ticket(job.consumer, server)
            stolen, _ = job.ticket(job.consumer, server, cnf_c=other.spki)
            for presented in (ticket, stolen):
                async with dialled(other, server) as link:
                    link.ask(link.call(job, job.consumer, presented))

                    assert await link.is_refused()

            consumer = job.consumer
            await consumer.log_in()
            endorse = Endorsement(
                v=1,
                realm=FINGERPRINT,
                p=consumer.name,
                role=Role.CLIENT,
                spki=consumer.spki,
                addrs=(),
                nbf=now_ms() - 1000,
                exp=now_ms() + 60_000,
            ).pack()
            await consumer.tell(
                job.order(
                    consumer,
                    fetch_only=True,
                    endorse=endorse,
                    endorse_sig=consumer.sig.sign(b"MPX1-endorse\0", endorse),
                )
            )
            await consumer.reached(job.id, "delivered")

            assert job.result()["n"] == 2

    asyncio.run(scenario())
