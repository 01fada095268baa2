"""A manager that comes back from a backup, at a broker that knows nobody."""

import asyncio
from pathlib import Path

from manager.realm.backup import back_up, restore
from manager.realm.founding import KEY_FILE
from manager.realm.keys import load_keys, save_keys
from manager.realm.private_files import make_home
from manager.store.store import Store
from shared import topology
from shared.messages import DatasetNotice, JobOffer, JobStage, Status
from shared.names import Io, JobId, Role
from shared.transport.memory import MemoryBroker, MemoryTransport
from tests.manager_realm import ManagerRealm, MemoryProvisioner, RawParty, stream

VISITS = (DatasetNotice(name="visits", cols=("x",)),)


def restored(realm: ManagerRealm, home: Path) -> None:
    """Back a realm up and put another manager, with an empty broker, in its place."""
    file, new = home.parent / "backup", home.parent / "new"
    now = realm.clock.now()
    save_keys(home / KEY_FILE, realm.keys, stream("file"))
    back_up(home, home / "manager.db", file, "0.0", now, stream("backup"))
    restore(file, new, lambda _: new / "manager.db", now, stream("restore"))
    realm.store.close()
    realm.store = Store.open(new / "manager.db")
    realm.keys = load_keys(new / KEY_FILE)
    realm.broker = MemoryBroker(stream("other"), now=realm.clock.now)
    realm.provisioner = MemoryProvisioner(realm.broker)
    realm.transport = MemoryTransport(realm.broker, topology.MANAGER_USER)
    realm.service = realm._new_service()


def come_back(party: RawParty) -> None:
    """Connect a party with the new broker, under its old name."""
    party.transport = party._connect(party.principal)
    party.transport.listen(topology.inbox(party.principal, party.role).name)


def stage_of(realm: ManagerRealm, job: JobId) -> JobStage:
    """Return how far a job is."""
    with realm.store.transaction() as unit:
        found = unit.jobs.get(job)
    assert found is not None
    return found.stage


def test_nobody_registers_again_and_nothing_old_is_let_in(tmp_path: Path) -> None:
    """Users are made anew, open jobs end at their deadline, sessions begin anew."""

    async def scene() -> None:
        home = tmp_path / "home"
        make_home(home)
        realm = ManagerRealm(home / "manager.db")
        await realm.start()
        parties = [
            await realm.join("one", Role.MPCS),
            await realm.join("two", Role.MPCS),
            await realm.join("source", Role.CLIENT, Io.INPUT, VISITS),
            await realm.join("consumer", Role.CLIENT, Io.OUTPUT),
        ]
        consumer = parties[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        offered = stage_of(realm, consumer.job())
        consumer.send(consumer.job_request(chosen=b"j" * 16))
        restored(realm, home)
        await realm.start()
        await realm.settle()
        made = realm.provisioner.users
        for party in parties:
            come_back(party)
        assert consumer.last is not None
        consumer.transport.put([consumer.last])
        await realm.settle()
        with realm.store.transaction() as unit:
            repeated = unit.jobs.get(consumer.job(b"j" * 16))
        await realm.pass_time(121)
        ended = stage_of(realm, consumer.job())
        for party in parties:
            party.read()
            await party.log_in()
            datasets = VISITS if party.io is Io.INPUT else None
            party.send(Status(slots_free=2, slots=2, load=0, datasets=datasets))
            await realm.settle()
        consumer.send(consumer.job_request(chosen=b"k" * 16))
        await realm.settle()
        offers = [
            message
            for party in parties
            for message in party.read()
            if isinstance(message, JobOffer)
        ]
        realm.store.close()

        assert offered is JobStage.OFFERED
        assert {party.principal for party in parties} <= made
        assert repeated is None
        assert ended is JobStage.CLOSED
        assert len(offers) == 4

    asyncio.run(scene())
