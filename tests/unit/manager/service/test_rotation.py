"""Keys that change while a manager runs: nobody logs in anew, no job is disturbed."""

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path

import pytest

from manager.realm.keys import ManagerKeys
from manager.realm.rotation import OVERLAP, SESSION_SLOT, Rotated
from manager.service.housekeeping import take_new_keys, turn_session_key
from manager.store.sqlite import IN_MEMORY
from manager.store.store import Place
from shared.crypto.keys import verify
from shared.envelope import KemSeal
from shared.errors import CryptoError
from shared.messages import (
    AsReply,
    AsReplyCore,
    CertificateBody,
    ErrorNotice,
    JobStart,
    Manifest,
    RealmDescription,
    RealmDescriptor,
    Status,
    unpack,
)
from shared.names import Io, Role
from shared.protocol.manifest import MANIFEST_LABEL
from tests.manager_realm import ManagerRealm, RawParty
from tests.unit.manager.service.test_loop import _accept, _join_all

STATUS = Status(slots_free=1, slots=1, load=0)


def run(coroutine: Coroutine[object, object, None]) -> None:
    """Run a history to its end."""
    asyncio.run(coroutine)


async def _begin(path: Place = IN_MEMORY) -> tuple[ManagerRealm, list[RawParty]]:
    realm = ManagerRealm(path)
    await realm.start()
    return realm, await _join_all(realm)


async def _take(realm: ManagerRealm) -> ManagerKeys:
    await realm.service.tick()
    await realm.settle()
    return realm.newest


def _epochs(messages: Sequence[object]) -> list[int]:
    return [
        unpack(RealmDescription, message.rd).epoch
        for message in messages
        if isinstance(message, RealmDescriptor)
    ]


def test_a_job_goes_on_while_every_key_is_rotated() -> None:
    """Offers under the old keys, the start under the new: everybody hears of them."""

    async def history() -> None:
        realm, parties = await _begin()
        consumer = parties[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        await _accept(parties)
        old = realm.newest
        realm.rotate(*Rotated)
        new = await _take(realm)
        heard = [party.read() for party in parties]
        starts = [[m for m in each if isinstance(m, JobStart)] for each in heard]
        [start] = starts[0]
        verify(new.signer.public, MANIFEST_LABEL, start.manifest, start.manifest_sig)
        certs = [
            unpack(CertificateBody, party.cert.c).iss
            for party in unpack(Manifest, start.manifest).parties
        ]

        assert [_epochs(each) for each in heard] == [[2]] * 4
        # Before the start, which the new key signs.
        assert all(isinstance(each[0], RealmDescriptor) for each in heard)
        assert [len(each) for each in starts] == [1, 1, 1, 1]
        assert certs == [old.signer.kid] * 4
        assert len(new.session_keys) == 1

    run(history())


def test_everybody_is_told_once() -> None:
    """Also whoever holds a token, and not again after a restart."""

    async def history() -> None:
        realm, parties = await _begin()
        token = await realm.token(Role.CLIENT, Io.INPUT)
        newcomer = RawParty(realm, "n", token, Role.CLIENT, Io.INPUT)
        spent = await realm.token(Role.MPCS)
        realm.rotate(Rotated.CA)
        realm.clock.move(1)
        await _take(realm)
        first = _epochs(newcomer.read()), _epochs([*parties[0].read()])
        await realm.service.tick()
        await realm.crash()
        await realm.settle()

        assert first == ([1, 2], [2])
        assert spent.token_id != token.token_id
        assert _epochs(newcomer.read()) == _epochs([*parties[0].read()]) == []

    run(history())


def test_a_manager_that_starts_finds_new_keys(tmp_path: Path) -> None:
    """The command came just before it ended."""

    async def history() -> None:
        realm, parties = await _begin(tmp_path / "manager.db")
        after = realm.rotate(*Rotated)
        await realm.crash()
        await realm.settle()
        parties[0].send(STATUS)
        await realm.settle()

        assert realm.newest.generation == after.generation
        assert realm.newest.slot == after.slot
        assert _epochs([*parties[0].read()]) == [2]
        assert realm.counters().get("session", 0) == 0

    run(history())


def test_a_certificate_by_a_former_key_is_renewed_at_the_next_login() -> None:
    """The leaf comes from the new authority; both are named while they overlap."""

    async def history() -> None:
        realm, parties = await _begin()
        server = parties[0]
        old = realm.newest
        realm.rotate(Rotated.MANAGER, Rotated.CA)
        new = await _take(realm)
        server.read()
        request = server.login()
        server.post(request, KemSeal(new.kem.public))
        await realm.settle()
        messages = server.read()
        [reply] = [m for m in messages if isinstance(m, AsReply)]
        core = server.open_session(request, reply)
        assert core.cert is not None
        body = unpack(CertificateBody, core.cert.c)
        server.send(STATUS)
        again = server.login()
        server.post(again, KemSeal(new.kem.public))
        await realm.settle()
        [reply] = [m for m in server.read() if isinstance(m, AsReply)]

        assert body.iss == new.signer.kid
        assert body.exp == new.ends
        assert core.cas == (
            new.authority.certificate_der,
            old.authority.certificate_der,
        )
        assert unpack(AsReplyCore, reply.core).cert is None
        assert _epochs(messages) == []

    run(history())


def test_a_login_to_a_former_key_is_told_of_the_new_one_first() -> None:
    """Who was not there when the keys changed could not check the answer."""

    async def history() -> None:
        realm, parties = await _begin()
        server = parties[0]
        realm.rotate(Rotated.MANAGER)
        await _take(realm)
        server.read()
        await server_logs_in(server)

    async def server_logs_in(server: RawParty) -> None:
        server.send_sealed(server.login())
        await server.realm.settle()
        messages = server.read()

        assert [type(m) for m in messages] == [RealmDescriptor, AsReply]

    run(history())


def test_65_a_key_whose_overlap_is_over_opens_nothing() -> None:
    """Nor is its authority named; its sender hears of the new one and may come in."""

    async def history() -> None:
        realm, parties = await _begin()
        server = parties[0]
        realm.rotate(Rotated.MANAGER, Rotated.CA)
        await _take(realm)
        realm.clock.move(OVERLAP.total_seconds() + 1)
        new = await _take(realm)
        server.read()
        server.send_sealed(server.login())
        await realm.settle()
        refused = server.read()
        request = server.login()
        server.post(request, KemSeal(new.kem.public))
        await realm.settle()
        [reply] = [m for m in server.read() if isinstance(m, AsReply)]
        core = server.open_session(request, reply)

        assert len(new.pairs) == len(new.authorities) == 1
        assert [type(m) for m in refused] == [RealmDescriptor, ErrorNotice]
        assert core.cas == (new.authority.certificate_der,)
        assert core.cert is not None

    run(history())


def test_an_unknown_sender_that_cannot_be_opened_hears_no_more_than_before() -> None:
    """Only whoever is registered is told of the realm."""

    async def history() -> None:
        realm, _ = await _begin()
        token = await realm.token(Role.MPCS)
        party = RawParty(realm, "n", token, Role.MPCS)
        party.read()
        party.post(party.request(), KemSeal(party.kem.public))
        await realm.settle()

        assert _epochs(party.read()) == []

    run(history())


def test_a_session_key_made_by_hand_keeps_the_sessions(tmp_path: Path) -> None:
    """Everything is wrapped under it at once; the old key opens nothing more."""

    async def history() -> None:
        realm, parties = await _begin(tmp_path / "manager.db")
        old = realm.newest
        realm.rotate(Rotated.SESSIONS)
        new = await _take(realm)
        await realm.crash()
        parties[0].send(STATUS)
        await realm.settle()
        with realm.store.transaction() as unit:
            sessions = unit.sessions.all()
            slot = unit.journal.fact(SESSION_SLOT)

        assert {each.slot for each in sessions} == {new.slot} == {old.slot + 1}
        assert slot == str(new.slot).encode()
        assert [number for number, _ in new.session_keys] == [new.slot]
        assert realm.counters().get("session", 0) == 0
        with pytest.raises(CryptoError):
            old.advanced(new.slot).unwrap_session(
                new.slot, sessions[0].sid, sessions[0].wrapped
            )

    run(history())


def test_a_session_key_never_turns_past_keys_that_were_just_made() -> None:
    """They came between two looks: they are taken first, then the key turns."""

    async def history() -> None:
        realm, parties = await _begin()
        realm.clock.move(12 * 3600)
        office, now = realm.service._office, realm.clock.ms
        made = realm.rotate(Rotated.SESSIONS)
        turn_session_key(office, realm.store, now, realm.saved.append)
        half = realm.newest
        take_new_keys(office, realm.store, realm.saved.append)
        turn_session_key(office, realm.store, now, realm.saved.append)
        with realm.store.transaction() as unit:
            slot = unit.journal.fact(SESSION_SLOT)

        assert len(half.session_keys) == 2
        assert realm.newest.session_keys == made.session_keys[-1:]
        assert slot == str(made.slot).encode()
        assert len(parties) == 4

    run(history())
