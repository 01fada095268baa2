"""The store: what it keeps, what it refuses, what a copy of it tells."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from manager.protocol.presence import Presence
from manager.store.records import InboxRecord, Letter, TimerRecord
from manager.store.states import Packer
from manager.store.store import IN_MEMORY, Store
from shared.errors import CodecError, ConfigError, StoreError
from shared.messages import DatasetNotice
from shared.names import MessageId, Principal
from shared.transport.base import Outgoing

MID = MessageId(bytes(16))


def _letter(body: bytes) -> Letter:
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
    return Letter(outgoing, 1000, ("client001", MID), Principal("client001"))


def test_a_store_is_made_once(tmp_path: Path) -> None:
    """A second time would lose the first."""
    path = tmp_path / "s.db"
    Store.create(path).close()
    with pytest.raises(ConfigError):
        Store.create(path)


def test_a_store_that_is_not_there_is_not_made_by_the_way(tmp_path: Path) -> None:
    """A wrong path must not look like an empty realm."""
    with pytest.raises(ConfigError, match="no store"):
        Store.open(tmp_path / "s.db")


@pytest.mark.parametrize("version", ["2", None])
def test_a_store_of_another_release_is_refused(
    tmp_path: Path, version: str | None
) -> None:
    """Its version is explicit."""
    path = tmp_path / "s.db"
    Store.create(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        if version is None:
            connection.execute(text("DROP TABLE meta"))
        else:
            connection.execute(
                text(f"UPDATE meta SET value = x'{version.encode().hex()}'")
            )
    engine.dispose()
    with pytest.raises(ConfigError, match="schema"):
        Store.open(path)


def test_nothing_of_a_failed_transaction_stays() -> None:
    """State, outbox and counters go together."""
    store = Store.create(IN_MEMORY)

    def fail() -> None:
        with store.transaction() as unit:
            unit.people.take_number("x")
            unit.mail.add_letters([_letter(b"1")])
            unit.journal.count({"n": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with store.transaction() as unit:
        number = unit.people.next_number("x")
        letters = unit.mail.open_letters()
        counters = unit.journal.counters()

    assert (number, letters, counters) == (1, [], {})


def test_two_writers_take_turns(tmp_path: Path) -> None:
    """The command line writes while the manager runs."""
    path = tmp_path / "s.db"
    first, second = Store.create(path), Store.open(path)
    for store in (first, second, first):
        with store.transaction() as unit:
            unit.people.take_number("x")
    with second.transaction() as unit:
        number = unit.people.next_number("x")

    assert number == 4


def test_a_letter_is_open_until_it_is_published() -> None:
    """And is found again by what it answers, until it expires."""
    store = Store.create(IN_MEMORY)
    with store.transaction() as unit:
        first, second = unit.mail.add_letters([_letter(b"1"), _letter(b"2")])
        unit.mail.mark_published([first.id])
        waiting = unit.mail.open_letters()
        answers = unit.mail.answers_to("client001", MID)
        unit.mail.forget(1001)
        gone = unit.mail.answers_to("client001", MID)

    assert waiting == [second]
    assert [letter.outgoing.body for letter in answers] == [b"1", b"2"]
    assert gone == []


def test_an_envelope_that_was_noted_is_known_before_and_after_the_write() -> None:
    """A duplicate in the same batch is one too."""
    store = Store.create(IN_MEMORY)
    record = InboxRecord("client001", MID, None, 0, bytes(32), 1000)
    with store.transaction() as unit:
        unit.mail.add_received(record)
        before = unit.mail.received("client001", MID)
        unit.mail.write()
    with store.transaction() as unit:
        after = unit.mail.received("client001", MID)

    assert before == after == record


def test_a_timer_is_replaced_by_its_name() -> None:
    """And forgotten alone or with its machine."""
    store = Store.create(IN_MEMORY)
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


def test_a_state_survives_its_bytes() -> None:
    """Tuples, enums and wire structures come back as they were."""
    packer = Packer(Presence)
    state = Presence(
        Principal("client001"),
        is_online=True,
        datasets=(DatasetNotice(name="visits", cols=("x", "y")),),
    )

    assert packer.unpack(packer.pack(state)) == state


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xc1"])
def test_bytes_of_another_state_are_refused(data: bytes) -> None:
    """A damaged row is said to be one."""
    with pytest.raises(StoreError):
        Packer(Presence).unpack(data)


def test_a_state_of_unknown_parts_is_not_packed() -> None:
    """It would not come back."""
    state = Presence(Principal("x"), datasets=(1.5,))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(CodecError):
        Packer(Presence).pack(state)


def test_a_reader_keeps_no_writer_waiting_and_writes_nothing(tmp_path: Path) -> None:
    """It sees what was there when it began, and afterwards that it has changed."""
    path = tmp_path / "s.db"
    writer = Store.create(path)
    reader = Store.open(path)
    before = reader.version()
    with reader.reading() as looking:
        assert looking.sessions.presences() == []
        with writer.transaction() as unit:
            unit.sessions.save_presence(Presence(Principal("client001")))

        assert looking.sessions.presences() == []
    with pytest.raises(StoreError), reader.reading() as looking:
        looking.sessions.save_presence(Presence(Principal("client002")))
    with reader.reading() as looking:
        seen = [presence.principal for presence in looking.sessions.presences()]
    with reader.transaction() as unit:
        unit.sessions.save_presence(Presence(Principal("client003")))
    after = reader.version()

    assert seen == ["client001"]
    assert before != after
    assert after == reader.version()
