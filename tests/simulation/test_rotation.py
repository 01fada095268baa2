"""The manager's keys over weeks: jobs before, during and after, and the old keys' end."""

import asyncio

from manager.realm.founding import DESCRIPTOR, descriptor_of_unit
from manager.realm.keys import ManagerKeys
from manager.realm.rotation import OVERLAP, ROTATED, Rotated
from manager.service.housekeeping import DESCRIBED
from participant.protocol.model import Stage
from shared import codec, topology
from shared.envelope import Addressing, Clear, seal
from shared.errors import ErrorCode
from shared.messages import ErrorNotice
from shared.names import MANAGER, JobId, MessageId
from shared.transport.base import Outgoing
from tests.simulation.history import History, question
from tests.simulation.party import SimParty

DAY = 24 * 3600
STEP = 3 * 3600


async def _done(history: History, job: JobId) -> bool:
    """Let a job come to its end; say whether it brought a result."""
    consumer = history.realm.consumers[0]
    for _ in range(4):
        await history._calm_round()
        if consumer.jobs[job].stage is Stage.CLOSED:
            break
        await history._pass_time(2)
    return consumer.closed.get(job) == {("done", "done")}


async def _ask(history: History) -> bool:
    job = history.realm.consumers[0].submit(question())
    return await _done(history, job)


async def _live(history: History, days: int) -> None:
    """Let days pass, in which everybody renews its sessions."""
    for _ in range(days * DAY // STEP):
        await history._pass_time(STEP)
        await history._calm_round()


def _error_by(keys: ManagerKeys, party: SimParty) -> Outgoing:
    """Return an err to a party that a manager with these keys could have sent."""
    mid = MessageId(party.entropy(16))
    body = seal(
        ErrorNotice(code=ErrorCode.BUSY),
        Addressing(MANAGER, party.principal, mid, party.now_ms, 60_000),
        Clear(),
        keys.signer,
        keys.fingerprint,
    )
    return Outgoing(
        exchange=topology.PARTICIPANTS_EXCHANGE,
        routing_key=party.identity.broker.queue,
        body=body,
        message_id=mid.hex(),
        type="err",
        correlation_id=None,
        expiration_ms=None,
        timestamp=0,
        user_id=topology.MANAGER_USER,
        app_id="mpc-manager",
    )


def test_65_jobs_go_on_over_a_rotation_and_old_keys_end_with_their_overlap() -> None:
    """A job is asked before, goes on after; two weeks later nothing of old counts."""

    async def weeks(history: History) -> None:
        realm = history.realm
        await realm.begin()
        party = realm.servers[0]
        old, sessions = realm.newest, party.mail.sessions.current
        job = realm.consumers[0].submit(question())
        realm.consumers[0].speak()
        realm.broker.settle()
        realm.rotate(*Rotated)
        await history._pass_time(1)
        across = await _done(history, job)
        undisturbed = party.mail.sessions.current
        realm.transport.put([_error_by(old, party)])
        realm.broker.settle()
        party.hear()
        during = party.mail.counters["signature"]
        await _live(history, OVERLAP.days)
        await _live(history, 1)
        new = realm.newest
        realm.transport.put([_error_by(old, party), _error_by(new, party)])
        realm.broker.settle()
        party.hear(2)
        refused = party.mail.counters["signature"]
        late = await _ask(history)
        epochs = {each.identity.realm.epoch for each in realm.parties}
        current = party.mail.sessions.current

        assert across
        assert late
        assert undisturbed is sessions
        assert (during, refused) == (0, 1)
        assert epochs == {2}
        assert [pair.signer.kid for pair in new.pairs] == [new.signer.kid]
        assert new.signer.kid != old.signer.kid
        assert current is not None
        assert current.authorities == (new.authority.certificate_der,)
        assert not [problem for each in realm.parties for problem in each.problems]

    asyncio.run(weeks(History(0)))


def test_who_was_away_for_longer_than_the_overlap_comes_back() -> None:
    """It seals to a key that is erased, hears of the new one, and logs on to that."""

    async def weeks(history: History) -> None:
        realm = history.realm
        await realm.begin()
        away = realm.servers[0]
        away.freeze()
        away.transport.crash()
        realm.rotate(Rotated.MANAGER, Rotated.CA)
        await history._pass_time(1)
        await _live(history, OVERLAP.days + 1)
        away.thaw()
        away.restart()
        before = away.identity.realm.epoch
        for _ in range(4):
            await history._pass_time(11)
            await history._calm_round()
        current = away.mail.sessions.current

        assert before == 1
        assert away.identity.realm.epoch == 2
        assert current is not None
        assert current.authorities == (realm.newest.authority.certificate_der,)
        assert away.principal in realm.pool()

    asyncio.run(weeks(History(0)))


def test_a_manager_of_an_older_backup_is_taken_back_after_as_many_rotations() -> None:
    """Its descriptor would be a rollback; the next one is of the epoch that is known."""

    async def weeks(history: History) -> None:
        realm = history.realm
        await realm.begin()
        old = realm.newest
        with realm.store.transaction() as unit:
            descriptor = descriptor_of_unit(unit).pack()
        realm.rotate(Rotated.MANAGER, Rotated.CA)
        await history._pass_time(1)
        await history._calm_round()
        lost = realm.newest
        # As a restore leaves it: older facts, other session keys, no session.
        realm.saved.append(old.with_new_session_key(realm.entropy))
        with realm.store.transaction() as unit:
            unit.journal.set_fact(DESCRIPTOR, descriptor)
            unit.journal.set_fact(DESCRIBED, b"1")
            unit.journal.set_fact(ROTATED, codec.encode([]))
            unit.sessions.erase([each.sid for each in unit.sessions.all()])
        await realm.crash()
        realm.rotate(*Rotated)
        for _ in range(6):
            await history._pass_time(31)
            await history._calm_round()
        views = [each.identity.realm for each in realm.parties]
        now = realm.clock.ms
        again = await _ask(history)

        assert {view.epoch for view in views} == {2}
        assert all(view.kem_key(now) == realm.newest.kem.public for view in views)
        assert realm.newest.kem.public != lost.kem.public
        assert again

    asyncio.run(weeks(History(0)))
