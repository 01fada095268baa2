"""What a store does, whatever database it lies in; one subclass a database.

``unit/manager/store`` runs it on SQLite, ``integration`` on PostgreSQL.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from manager.protocol.lease import Lease, taken
from manager.protocol.presence import Presence
from manager.protocol.registration import TokenState
from manager.store import schema
from manager.store.records import (
    CommandKind,
    InboxRecord,
    Letter,
    SessionRecord,
    SessionStanding,
    Task,
    TaskKind,
    TicketKey,
    TimerRecord,
)
from manager.store.sqlite import Synchronous
from manager.store.store import LeaseLostError, Place, Store
from manager.store.store import _engine_of as engine_of
from shared.errors import ConfigError, StoreError
from shared.names import JobId, MessageId, Principal, Role, SessionId, TokenId
from shared.protocol.window import Window
from shared.transport.base import Outgoing

MID = MessageId(bytes(16))
CLIENT = Principal("client001")
LARGE = 2**63 - 1
"""What a column for times and numbers has to hold."""


def letter(body: bytes) -> Letter:
    """Return a letter to a client, in answer to its first message."""
    outgoing = Outgoing(
        exchange="mpc.participants",
        routing_key="mpcs.MPC_server_001",
        body=body,
        message_id="00",
        type="err",
        correlation_id=None,
        expiration_ms=1,
        timestamp=0,
        user_id="manager",
        app_id="mpc-manager",
    )
    return Letter(outgoing, 1000, ("client001", MID), CLIENT)


def session(name: bytes) -> SessionRecord:
    """Return a session as it begins."""
    return SessionRecord(
        sid=SessionId(name * 16),
        principal=CLIENT,
        standing=SessionStanding.HALF_OPEN,
        slot=3,
        wrapped=b"\0wrapped\xff",
        created=1,
        exp=LARGE,
        ended=None,
        out_seq=0,
        window=Window(),
        endorse=b"e",
        endorse_sig=b"s",
        endorse_exp=LARGE,
        spki=b"k",
        leaf=b"l",
    )


class Stores:
    """Makes and opens the store of one place, and closes all at the end."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._opened: list[Store] = []

    def create(self) -> Store:
        """Return a new store."""
        self._opened.append(Store.create(self.place))
        return self._opened[-1]

    def open(self, *, upgrade: bool = False) -> Store:
        """Return the store that is there."""
        self._opened.append(Store.open(self.place, upgrade=upgrade))
        return self._opened[-1]

    def close(self) -> None:
        """Close every store."""
        for store in self._opened:
            store.close()


class StoreContract:
    """The tests; ``place`` is a fixture of the subclass: a database without tables."""

    @pytest.fixture
    def stores(self, place: Place) -> Iterator[Stores]:
        """Whatever the test opens is closed."""
        stores = Stores(place)
        yield stores
        stores.close()

    def test_a_store_is_made_once(self, stores: Stores) -> None:
        """A second time would lose the first."""
        stores.create().close()
        with pytest.raises(ConfigError, match="already"):
            stores.create()

    def test_no_store_is_made_among_other_tables(self, place: Place) -> None:
        """They are somebody else's."""
        engine = engine_of(place, Synchronous.FULL)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE other (x INTEGER)")
        engine.dispose()
        with pytest.raises(ConfigError, match="something else"):
            Store.create(place)

    def test_a_store_that_is_not_there_is_not_made_by_the_way(
        self, stores: Stores
    ) -> None:
        """A wrong place must not look like an empty realm."""
        with pytest.raises(ConfigError, match="no store"):
            stores.open()

    @pytest.mark.parametrize(
        ("version", "said"), [(99, "knows"), (0, "schema 0"), (None, "no store")]
    )
    @pytest.mark.parametrize("upgrade", [False, True])
    def test_a_store_of_another_release_is_refused(
        self, stores: Stores, version: int | None, said: str, upgrade: bool
    ) -> None:
        """A newer one always, an unknown older one too; nothing of it is changed."""
        store = stores.create()
        with store._engine.begin() as connection:
            meta = schema.meta.c.value
            connection.execute(
                schema.meta.delete()
                if version is None
                else schema.meta.update().values({meta: str(version).encode()})
            )
        store.close()
        with pytest.raises(ConfigError, match=said):
            stores.open(upgrade=upgrade)

    def test_nothing_of_a_failed_transaction_stays(self, stores: Stores) -> None:
        """State, outbox and counters go together."""
        store = stores.create()

        def fail() -> None:
            with store.transaction() as unit:
                unit.people.take_number("x")
                unit.mail.add_letters([letter(b"1")])
                unit.journal.count({"n": 1})
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with store.transaction() as unit:
            number = unit.people.next_number("x")
            letters = unit.mail.open_letters()
            counters = unit.journal.counters()

        assert (number, letters, counters) == (1, [], {})

    def test_two_writers_take_turns(self, stores: Stores) -> None:
        """The command line writes while the manager runs."""
        first = stores.create()
        second = stores.open()
        for store in (first, second, first):
            with store.transaction() as unit:
                unit.people.take_number("x")
        with second.transaction() as unit:
            number = unit.people.next_number("x")

        assert number == 4

    def test_a_reader_keeps_no_writer_waiting_and_writes_nothing(
        self, stores: Stores
    ) -> None:
        """It sees what was there when it began, and afterwards that it has changed."""
        writer = stores.create()
        reader = stores.open()
        before = reader.version()
        with reader.reading() as looking:
            assert looking.sessions.presences() == []
            with writer.transaction() as unit:
                unit.sessions.save_presence(Presence(Principal("client001")))

            assert looking.sessions.presences() == []
        with writer.transaction(), reader.reading() as looking:
            seen = [presence.principal for presence in looking.sessions.presences()]
        with pytest.raises(StoreError), reader.reading() as looking:
            looking.sessions.save_presence(Presence(Principal("client002")))
        with reader.transaction() as unit:
            unit.sessions.save_presence(Presence(Principal("client003")))
        after = reader.version()

        assert seen == ["client001"]
        assert before != after
        assert after == reader.version()

    def test_a_letter_is_open_until_it_is_published(self, stores: Stores) -> None:
        """And is found again by what it answers, until it expires."""
        store = stores.create()
        with store.transaction() as unit:
            first, second = unit.mail.add_letters([letter(b"1"), letter(b"2")])
            unit.mail.mark_published([first.id])
            waiting = unit.mail.open_letters()
            answers = unit.mail.answers_to("client001", MID)
            unit.mail.forget(1001)
            gone = unit.mail.answers_to("client001", MID)

        assert waiting == [second]
        assert [each.outgoing.body for each in answers] == [b"1", b"2"]
        assert gone == []

    def test_an_envelope_that_was_noted_is_known_before_and_after_the_write(
        self, stores: Stores
    ) -> None:
        """A duplicate in the same batch is one too."""
        store = stores.create()
        record = InboxRecord("client001", MID, None, 0, bytes(32), 1000)
        with store.transaction() as unit:
            unit.mail.add_received(record)
            before = unit.mail.received("client001", MID)
            unit.mail.write()
        with store.transaction() as unit:
            after = unit.mail.received("client001", MID)

        assert before == after == record

    def test_a_timer_is_replaced_by_its_name(self, stores: Stores) -> None:
        """And forgotten alone or with its machine."""
        store = stores.create()
        with store.transaction() as unit:
            for due, name in ((5, "a"), (7, "a"), (6, "b")):
                unit.mail.set_timer(TimerRecord("job", b"j", name, due))
            due_timers = unit.mail.due_timers(7, 10)
            unit.mail.cancel_timer("job", b"j", "a")
            left = unit.mail.due_timers(7, 10)
            unit.mail.cancel_timers("job", b"j")
            none = unit.mail.due_timers(7, 10)

        assert [(timer.name, timer.due) for timer in due_timers] == [("b", 6), ("a", 7)]
        assert [timer.name for timer in left] == ["b"]
        assert none == []

    def test_sessions_come_back_as_they_were_saved(self, stores: Stores) -> None:
        """Bytes, absent times and the largest numbers too; one is erased alone."""
        store = stores.create()
        first, second = session(b"1"), session(b"2")
        with store.transaction() as unit:
            for each in (first, second):
                unit.sessions.add(each)
            live = SessionStanding.LIVE
            window = Window().with_seen(LARGE)
            changed = [
                replace(each, standing=live, window=window) for each in (first, second)
            ]
            unit.sessions.save(changed)
            unit.sessions.spend_nonce(CLIENT, b"n", 5)
            unit.sessions.spend_nonce(CLIENT, b"n", 9)
            spent = unit.sessions.nonce_is_spent(CLIENT, b"n", 9)
            unit.sessions.forget_nonces(10)
            forgotten = unit.sessions.nonce_is_spent(CLIENT, b"n", 9)
        with store.transaction() as unit:
            found = unit.sessions.all()
            unit.sessions.erase([first.sid])
            left = unit.sessions.all()

        assert found == changed
        assert left == changed[1:]
        assert (spent, forgotten) == (True, False)

    def test_what_is_put_twice_is_there_once(self, stores: Stores) -> None:
        """Facts, counters, presence and ticket keys give way to the newer."""
        store = stores.create()
        key = TicketKey(b"job", 1, Principal("MPC_server_001"), 3, b"w", LARGE)
        newer = TicketKey(b"job", 1, Principal("MPC_server_001"), 4, b"v", LARGE)
        with store.transaction() as unit:
            for fact in (b"1", b"2"):
                unit.journal.set_fact("f", fact)
                unit.journal.count({"n": 2, "m": 1})
            for seen in (1, 2):
                unit.sessions.save_presence(Presence(CLIENT, seen=seen))
            unit.jobs.save_ticket_keys([key])
            unit.jobs.save_ticket_keys([newer])
            fact_now = unit.journal.fact("f")
            counters = unit.journal.counters()
            presences = unit.sessions.presences()
            old = unit.jobs.ticket_keys_not_in(4)
            keys = unit.jobs.ticket_keys(JobId(b"job"), 1)

        assert fact_now == b"2"
        assert counters == {"m": 2, "n": 4}
        assert [each.seen for each in presences] == [2]
        assert (keys, old) == ([newer], [])

    def test_tasks_and_commands_keep_their_order(self, stores: Stores) -> None:
        """A task has a number, by which it ends; commands are taken once."""
        store = stores.create()
        task = Task(TaskKind.DELETE_ENROLMENT, token_id=bytes(8))
        with store.transaction() as unit:
            numbers = [unit.orders.add_task(task) for _ in range(2)]
            unit.orders.finish_task(numbers[0])
            left = unit.orders.tasks()
            unit.orders.add_command(CommandKind.CANCEL_JOB, b"b", 2)
            unit.orders.add_command(CommandKind.CANCEL_JOB, b"a", 1)
            taken_once = unit.orders.take_commands()
            taken_twice = unit.orders.take_commands()

        assert left == [(numbers[1], task)]
        assert [argument for _, argument in taken_once] == [b"b", b"a"]
        assert taken_twice == []

    def test_a_token_is_found_by_its_id_and_changed(self, stores: Stores) -> None:
        """Its secret is there as a hash only."""
        store = stores.create()
        token = TokenState(
            TokenId(bytes(8)), bytes(32), Role.MPCS, None, None, expires=LARGE
        )
        with store.transaction() as unit:
            unit.people.add_token(token, 1)
            unit.people.save_token(token)
            found = unit.people.token(token.token_id)
            every = unit.people.tokens()

        assert found == token
        assert every == [(token, 1)]

    def test_the_holder_of_a_newer_lease_fences_the_older_out(
        self, stores: Stores
    ) -> None:
        """Nothing of what the older one does afterwards is in the store."""
        store = stores.create()
        hold(store, "a")
        old = store.fenced(1)
        with old.transaction() as unit:
            unit.people.take_number("x")
        with store.transaction() as unit:
            unit.leases.put(Lease(2, "b", 1, LARGE))
        done: list[str] = []
        with pytest.raises(LeaseLostError), old.transaction() as unit:
            done.append("in")
        with store.fenced(2).transaction() as unit:
            number = unit.people.next_number("x")

        assert done == []
        assert number == 2

    def test_whoever_held_the_lease_is_out_after_an_upgrade(
        self, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A manager of the earlier release must not write into the later form."""
        old = stores.create()
        hold(old, "a")
        monkeypatch.setattr("manager.store.schema.SCHEMA_VERSION", 3)
        step = {2: ("CREATE TABLE later (x INTEGER)", "DROP TABLE later")}
        monkeypatch.setattr("manager.store.migrations.STEPS", step)
        new = stores.open(upgrade=True)
        with new.reading() as looking:
            version, lease = looking.journal.version(), looking.leases.get()

        assert (version, lease) == (3, Lease(2))
        with pytest.raises(LeaseLostError), old.fenced(1).transaction():
            pass

    def test_the_clock_is_the_databases_and_goes_on(self, stores: Stores) -> None:
        """Also within a transaction, however long that waited."""
        store = stores.create()
        with store.transaction() as unit:
            begin = unit.leases.now_ms()
            wait_for(lambda: unit.leases.now_ms() > begin)

        assert begin > 1_600_000_000_000


def hold(store: Store, holder: str) -> Lease:
    """Take the lease, which is free."""
    with store.transaction() as unit:
        lease = taken(unit.leases.get(), holder, unit.leases.now_ms())
        assert lease is not None
        unit.leases.put(lease)
    return lease


def wait_for(check: Callable[[], bool]) -> None:
    """Look until something holds, as it must at once or a moment later."""
    for _ in range(1_000_000):
        if check():
            return
    raise AssertionError("it never holds")
