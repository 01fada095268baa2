"""Revocation: whoever is revoked is out at once, everywhere, and all others know."""

import pytest

from manager.service import memory
from manager.store.records import CommandKind, Standing
from shared.crypto.derivation import spec_hash
from shared.errors import FailureCode
from shared.messages import (
    JobAbort,
    JobAccept,
    JobClosed,
    JobOffer,
    JobStart,
    RegistrationDone,
    RegistrationReply,
    Revoked,
    Status,
)
from shared.names import Io, Role
from tests.manager_realm import ManagerRealm, RawParty
from tests.negative.realm import STATUS, Actor, AttackedRealm, run


async def revoke(realm: ManagerRealm, party: RawParty) -> None:
    """Do what ``mpc-manager participants revoke`` does."""
    with realm.store.transaction() as unit:
        name = party.principal.encode()
        unit.orders.add_command(CommandKind.REVOKE_PARTICIPANT, name, 0)
    await realm.service.tick()
    await realm.settle()


async def started(realm: AttackedRealm) -> tuple[Actor, Actor, Actor, Actor]:
    """Return the parties of a job that was started; they have read everything."""
    parties = await realm.cast()
    consumer = parties[3]
    request = consumer.job_request()
    consumer.send(request)
    await realm.settle()
    for party in parties:
        digest = spec_hash(request.spec)
        party.send(
            JobAccept(job=consumer.job(), epoch=1, spec_hash=digest, nonce=b"n" * 16)
        )
    await realm.settle()
    for party in parties:
        assert any(isinstance(each, JobStart) for each in party.read())
    return parties


def standing(realm: ManagerRealm, party: RawParty) -> Standing:
    """Return how a principal stands in the store."""
    with realm.store.reading() as unit:
        [record] = [
            each
            for each in unit.people.principals()
            if each.principal == party.principal
        ]
    return record.standing


@pytest.mark.parametrize("index", range(4))
def test_50_a_revoked_party_ends_its_job_for_all_others(index: int) -> None:
    """Server, source or consumer: everybody is told who, before the job's end."""

    async def history(realm: AttackedRealm) -> None:
        parties = await started(realm)
        revoked = parties[index]
        await revoke(realm, revoked)
        for party in parties:
            if party is revoked:
                continue
            notice, *ends = party.read()
            assert notice == Revoked(revocations=1, principals=(revoked.principal,))
            assert {type(each) for each in ends} == {JobAbort, JobClosed}
            for each in ends:
                assert isinstance(each, JobAbort | JobClosed)
                assert each.code is FailureCode.REVOKED
                assert each.party == revoked.principal
        with realm.store.reading() as unit:
            job = unit.jobs.get(parties[3].job())

        assert job is not None
        assert (job.code, job.party) == (FailureCode.REVOKED, revoked.principal)

    run(history)


def test_50_a_revoked_party_has_no_session_no_login_and_no_broker_user() -> None:
    """What it still sends changes nothing, and is worth no answer."""

    async def history(realm: AttackedRealm) -> None:
        _, _, source, consumer = await realm.cast()
        await revoke(realm, source)
        before = await realm.snapshot()
        # As with a broker that lets it publish all the same.
        realm.provisioner.create_participant(source.principal, Role.CLIENT, "hash")
        source.send(STATUS)
        await realm.settle()
        source.send_sealed(source.login())
        await realm.settle()

        assert source.principal in realm.provisioner.users
        assert source.read() == []
        assert await realm.snapshot() == before
        assert standing(realm, source) is Standing.REVOKED
        consumer.read()
        consumer.send(consumer.job_request(chosen=b"z" * 16))
        await realm.settle()
        assert not any(isinstance(each, JobOffer) for each in consumer.read())

    run(history)


def test_50_the_broker_user_is_removed_and_stays_so() -> None:
    """Nor does a second command, or a manager that starts anew, bring anything back."""

    async def history(realm: AttackedRealm) -> None:
        server, other, *_ = await realm.cast()
        await revoke(realm, server)
        gone = server.principal not in realm.provisioner.users
        other.read()
        await revoke(realm, server)
        # As a manager does that stood still while another one took its turn.
        realm.provisioner.create_participant(server.principal, Role.MPCS, "hash")
        await realm.crash()
        await realm.settle()

        assert gone
        assert server.principal not in realm.provisioner.users
        assert standing(realm, server) is Standing.REVOKED
        assert not any(isinstance(each, Revoked) for each in other.read())

    run(history)


def test_50_who_comes_later_hears_of_it_first_and_starts_carry_the_number() -> None:
    """A notice that a broker withheld is missed at the next session or start."""

    async def history(realm: AttackedRealm) -> None:
        spare = await realm.join_actor("spare", Role.MPCS)
        await revoke(realm, spare)
        parties = await realm.cast()
        said = [party.read() for party in parties]
        request = parties[3].job_request()
        parties[3].send(request)
        await realm.settle()
        for party in parties:
            party.read()
            party.send(
                JobAccept(
                    job=parties[3].job(),
                    epoch=1,
                    spec_hash=spec_hash(request.spec),
                    nonce=b"n" * 16,
                )
            )
        await realm.settle()
        notice = Revoked(revocations=1, principals=(spare.principal,))

        assert all(each[0] == notice for each in said)
        for party in parties:
            [start] = [each for each in party.read() if isinstance(each, JobStart)]
            assert start.revocations == 1

    run(history)


def test_50_a_registration_under_way_ends_with_its_principal() -> None:
    """Its reg.done does not bring it back."""

    async def history(realm: AttackedRealm) -> None:
        token = await realm.token(Role.CLIENT, Io.INPUT)
        newcomer = Actor(realm, "newcomer", token, Role.CLIENT, Io.INPUT)
        newcomer.send_sealed(newcomer.request())
        await realm.settle()
        [reply] = [m for m in newcomer.read() if isinstance(m, RegistrationReply)]
        enrolling = newcomer.transport
        newcomer.become(reply)
        await revoke(realm, newcomer)
        realm.provisioner.create_participant(newcomer.principal, Role.CLIENT, "hash")
        done = RegistrationDone(
            principal=reply.principal, serial=newcomer.serial, nonce=bytes(16)
        )
        newcomer.send_sealed(done)
        await realm.settle()
        newcomer.transport, newcomer.me = enrolling, token.sender
        newcomer.send_sealed(newcomer.request())
        await realm.settle()

        assert standing(realm, newcomer) is Standing.REVOKED
        assert newcomer.read() == []

    run(history)


def test_a_notice_names_nobody_whose_certificate_has_ended() -> None:
    """The number still counts it: it only ever grows."""

    async def history(realm: AttackedRealm) -> None:
        server = await realm.join_actor("server", Role.MPCS)
        await revoke(realm, server)
        known = realm.service._office.memory
        ends = known.principals[server.principal].cert_ends

        assert known.revoked(ends - 1) == (server.principal,)
        assert standing(realm, server) is Standing.REVOKED
        assert known.revoked(ends) == ()
        assert known.revocations == 1

    run(history)


def test_a_notice_that_is_full_names_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever registered first may be revoked last."""
    monkeypatch.setattr(memory, "MAX_REVOKED", 1)

    async def history(realm: AttackedRealm) -> None:
        first = await realm.join_actor("first", Role.MPCS)
        second = await realm.join_actor("second", Role.MPCS)
        third = await realm.join_actor("third", Role.MPCS)
        await revoke(realm, second)
        await realm.pass_time(1)
        await revoke(realm, first)
        said = [each for each in third.read() if isinstance(each, Revoked)]

        assert said[-1] == Revoked(revocations=2, principals=(first.principal,))

    run(history)


def test_nobody_is_revoked_by_a_name_that_is_not_there() -> None:
    """A restored store may lack whom a command names."""

    async def history(realm: AttackedRealm) -> None:
        server = await realm.join_actor("server", Role.MPCS)
        with realm.store.transaction() as unit:
            kind = CommandKind.REVOKE_PARTICIPANT
            unit.orders.add_command(kind, b"Nobody001", 0)
        await realm.service.tick()
        await realm.settle()

        assert server.read() == []
        server.send(Status(slots_free=1, slots=1, load=0))
        await realm.settle()
        assert standing(realm, server) is Standing.REGISTERED

    run(history)
