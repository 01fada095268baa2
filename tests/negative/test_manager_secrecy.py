"""What a recording of the broker is worth once long-term keys leak."""

import itertools
from collections.abc import Iterable

from sqlalchemy import select

from manager.store import schema
from shared.crypto.derivation import as_keys, as_transcript, sha256, spec_hash
from shared.crypto.keys import KemKey, SigningKey
from shared.crypto.sealing import hpke_open, open_with_nonce
from shared.envelope import SIGNATURE_BYTES, Sealed, parse
from shared.errors import CryptoError, FrameworkError
from shared.messages import (
    AsReply,
    AsReplyCore,
    AsRequest,
    JobAccept,
    JobStart,
    ServerTicket,
    Status,
    Suite,
    unpack,
)
from shared.names import Io, Role
from shared.protocol.tickets import open_ticket
from tests.negative.realm import Actor, AttackedRealm, run


def _recording(realm: AttackedRealm) -> list[Sealed]:
    return [parse(message.body) for message in realm.broker.seen]


def _unsealed(
    recording: list[Sealed], kems: Iterable[KemKey], kind: str
) -> list[bytes]:
    """Return the payloads of a type that these keys open."""
    found = []
    for sealed, kem in itertools.product(recording, kems):
        if sealed.header.t != kind:
            continue
        try:
            info = b"MPX1-seal\0" + sealed.associated
            found.append(hpke_open(kem, info, sealed.body)[SIGNATURE_BYTES:])
        except CryptoError:
            continue
    return found


def _session_keys(recording: list[Sealed], kems: list[KemKey]) -> set[bytes]:
    """Return every session key that these X25519 keys lead to, whoever holds them."""
    keys = set()
    requests = _unsealed(recording, kems, "as.req")
    replies = _unsealed(recording, kems, "as.rep")
    for request, reply in itertools.product(requests, replies):
        core = unpack(AsReply, reply).core
        publics = (unpack(AsRequest, request).e, unpack(AsReplyCore, core).e)
        transcript = as_transcript(request, core)
        for kem, public in itertools.product(kems, publics):
            derived = as_keys(transcript, kem.exchange(public))
            keys |= {derived.up, derived.down}
    return keys


def _opened(recording: list[Sealed], keys: Iterable[bytes]) -> int:
    """Return how many bodies of suite 2 one of the keys opens."""
    count = 0
    for sealed, key in itertools.product(recording, keys):
        if sealed.suite is not Suite.SESSION:
            continue
        try:
            open_with_nonce(key, sealed.associated, sealed.body)
        except CryptoError:
            continue
        count += 1
    return count


def test_02_no_recorded_session_opens_with_all_long_term_keys() -> None:
    """Sessions stand on ephemeral keys: a later leak opens only the AS exchange."""

    async def history(realm: AttackedRealm) -> None:
        actor: Actor = (await realm.cast())[-1]
        actor.send(Status(slots_free=0, slots=0, load=1))
        actor.send(actor.job_request())
        await realm.settle()
        recording = _recording(realm)
        in_sessions = [each for each in recording if each.suite is Suite.SESSION]
        kems = [realm.keys.kem, *(each.kem for each in realm.actors)]
        long_term = {
            realm.root.seed,
            realm.keys.signer.seed,
            *(each.signer.seed for each in realm.actors),
            *(kem.secret for kem in kems),
            *(key for _, key in realm.keys.session_keys),
        }
        candidates = _session_keys(recording, kems)

        assert len(in_sessions) > len(realm.actors)
        assert len(candidates) >= 2 * len(realm.actors)
        assert _opened(recording, candidates | long_term) == 0

        # The decryptor is a real one: with the ephemeral keys everything opens.
        ephemeral = [each.ephemeral for each in realm.actors]
        exposed = _session_keys(recording, [*kems, *ephemeral])
        assert len(in_sessions) == _opened(recording, exposed)

    run(history)


def _windows(values: Iterable[bytes], size: int) -> set[bytes]:
    """Return every run of so many bytes in any of these."""
    return {
        value[start : start + size]
        for value in values
        for start in range(len(value) - size + 1)
    }


def _stored(realm: AttackedRealm) -> list[bytes]:
    """Return every value in a copy of the store, as bytes."""
    with realm.store._engine.begin() as connection:
        rows = [
            row
            for table in schema.metadata.sorted_tables
            for row in connection.execute(select(table))
        ]
    values = [value for row in rows for value in row]
    return [
        value.encode() if isinstance(value, str) else value
        for value in values
        if isinstance(value, str | bytes)
    ]


def _public(secret: bytes) -> set[bytes]:
    """Return the public keys, of either kind, that 32 bytes are the secret of."""
    return {SigningKey.from_seed(secret).public, KemKey.from_bytes(secret).public}


def _opens_ticket(
    realm: AttackedRealm, consumer: Actor, ticket: ServerTicket, key: bytes
) -> bool:
    try:
        open_ticket(
            key, realm.keys.fingerprint, consumer.job(), 1, ticket.s, ticket.ticket
        )
    except FrameworkError:
        return False
    return True


async def _started(realm: AttackedRealm) -> tuple[Actor, JobStart]:
    """Return a consumer and the start of its job, with its tickets."""
    parties = await realm.cast()
    consumer = parties[-1]
    request = consumer.job_request()
    consumer.send(request)
    await realm.settle()
    for party in parties:
        digest = spec_hash(request.spec)
        party.send(
            JobAccept(job=consumer.job(), epoch=1, spec_hash=digest, nonce=b"n" * 16)
        )
    await realm.settle()
    [start] = [each for each in consumer.read() if isinstance(each, JobStart)]
    return consumer, start


def test_40_a_copy_of_the_store_opens_nothing() -> None:
    """No run of bytes in it is a key, a token's secret or a ticket key."""

    async def history(realm: AttackedRealm) -> None:
        fresh = await realm.token(Role.CLIENT, Io.INPUT)
        consumer, start = await _started(realm)
        assert start.t is not None
        values = _stored(realm)
        runs = _windows(values, 32)
        recording = [each for each in _recording(realm) if each.suite is Suite.SESSION][
            :2
        ]
        publics = {
            realm.root.public,
            realm.keys.signer.public,
            realm.keys.kem.public,
            *(actor.signer.public for actor in realm.actors),
            *(actor.kem.public for actor in realm.actors),
        }
        found = {public for run in runs for public in _public(run)} & publics

        assert len(runs) > 5_000
        assert found == set()
        assert _opened(recording, runs) == 0
        assert not any(
            _opens_ticket(realm, consumer, start.t[0], candidate) for candidate in runs
        )
        hashes = {sha256(run) for run in _windows(values, 16)}
        assert sha256(fresh.secret) not in hashes

        # Together with the manager's key file it opens all of that.
        with realm.store.reading() as unit:
            [session] = [
                each for each in unit.sessions.all() if each.sid == consumer.sid
            ]
            kept = unit.jobs.ticket_keys(start.job, start.epoch)
        keys = realm.keys.unwrap_session(session.slot, session.sid, session.wrapped)
        tickets = {
            each.server: realm.keys.unwrap_ticket_key(
                each.slot, (each.job, each.epoch, each.server), each.wrapped
            )
            for each in kept
        }
        assert keys == b"".join(consumer.keys)
        assert _opens_ticket(realm, consumer, start.t[0], tickets[start.t[0].s])

    run(history)


def _unwrapped(realm: AttackedRealm) -> set[bytes]:
    """Return what the store and the session keys of now give together."""
    keys = realm.service._office.keys
    found: set[bytes] = set()
    with realm.store.reading() as unit:
        for session in unit.sessions.all():
            both = keys.unwrap_session(session.slot, session.sid, session.wrapped)
            found |= {both[:32], both[32:]}
        for kept in unit.jobs.ticket_keys_not_in(-1):
            name = (kept.job, kept.epoch, kept.server)
            found.add(keys.unwrap_ticket_key(kept.slot, name, kept.wrapped))
    return found


def test_45_session_keys_of_the_manager_open_nothing_that_has_ended() -> None:
    """What was wrapped under them is erased with its session and its job."""

    async def history(realm: AttackedRealm) -> None:
        consumer, start = await _started(realm)
        assert start.t is not None
        [ticket, *_] = start.t
        recording = [each for each in _recording(realm) if each.suite is Suite.SESSION]
        secrets = _unwrapped(realm)

        # While it lasts the search finds everything.
        assert _opened(recording, secrets) == len(recording) > len(realm.actors)
        assert any(_opens_ticket(realm, consumer, ticket, each) for each in secrets)

        older = {key for _, key in realm.service._office.keys.session_keys}
        await realm.pass_time(25 * 3600)  # longer than any session or job
        await realm.pass_time(31)  # until what has ended is cleaned away
        newer = {key for _, key in realm.service._office.keys.session_keys}
        known = _unwrapped(realm) | older | newer | _windows(_stored(realm), 32)

        assert older.isdisjoint(newer)
        assert _opened(recording[:3], known) == 0
        assert not any(_opens_ticket(realm, consumer, ticket, each) for each in known)

    run(history)
