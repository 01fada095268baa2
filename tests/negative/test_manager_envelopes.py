"""Envelopes that the manager must drop: forged, redirected, stale, out of place."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from shared.crypto.keys import KemKey, SigningKey
from shared.envelope import Clear, KemSeal
from shared.errors import ErrorCode
from shared.messages import (
    AsReply,
    ErrorNotice,
    JobOffer,
    JobQuery,
    LogOff,
    Message,
)
from shared.names import Fingerprint, MessageId, Role
from shared.protocol.window import WIDTH
from shared.transport.base import Outgoing
from tests.negative.realm import BUSIER, STATUS, Actor, AttackedRealm, Change, run

TEN_MINUTES_MS = 600_000
STRANGER = SigningKey.from_seed(bytes([3]) * 32)


def test_03_an_envelope_with_one_wrong_byte_is_dropped() -> None:
    """Every byte, one flip each; also cut short or with bytes after its end."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        good = actor.make(BUSIER)
        spoilt = [
            actor.spoil(good, index, byte ^ 1) for index, byte in enumerate(good.body)
        ]
        cut = [replace(good, body=good.body[:size]) for size in range(len(good.body))]
        longer = [replace(good, body=good.body + bytes(size)) for size in (1, 100)]
        told: list[str] = []
        for message in (*spoilt, *cut, *longer):
            realm.clock.move(0.02)  # within what an honest participant may send
            actor.put(message)
            await realm.settle()
            told += actor.errors()
        counts = await realm.count()
        handled = realm.service._office.memory.presence(actor.principal)

        assert "internal" not in counts
        assert set(told) <= {"unauthenticated", "expired", "unknown_session"}
        assert (handled.slots_free, realm.waiting()) == (2, 0)

    run(history)


def test_04_envelopes_under_unregistered_keys_change_nothing() -> None:
    """A broker user signs with a key that M never certified; it is told once."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        before = await realm.snapshot()
        stranger = Change(signer=STRANGER)
        sealed = replace(stranger, seal=actor.kem_seal())
        actor.put(
            actor.make(BUSIER, stranger),
            actor.make(actor.login(), sealed),
            actor.make(LogOff(), stranger),
        )
        await realm.settle()
        after = await realm.snapshot()
        counts = await realm.count()
        del before["outbox"], after["outbox"]

        assert before == after
        assert counts["signature"] == 3
        assert actor.errors() == ["unauthenticated"]

    run(history)


def test_04_a_principal_that_does_not_exist_is_dropped() -> None:
    """A broker user whose name nobody registered, with keys of its own."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        ghost = Change(sender="MPC_server_777", signer=STRANGER, seal=actor.kem_seal())
        message = replace(actor.make(actor.login(), ghost), user_id="MPC_server_777")

        moved = await realm.drops(
            lambda: realm.inject("manager.authentication", message)
        )

        assert moved == {"sender": 1}

    run(history)


def test_05_the_header_of_one_envelope_does_not_fit_the_body_of_another() -> None:
    """Both honest, from the same session, swapped: the encryption covers it all."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        one, two = actor.make(STATUS), actor.make(BUSIER)
        size = len(one.body) - len(actor.make(STATUS).body)
        assert size == 0
        body_at = 12 + int.from_bytes(one.body[6:8])
        mixed = replace(one, body=one.body[:body_at] + two.body[body_at:])
        actor.put(mixed)
        await realm.settle()
        counts = await realm.count()

        assert counts["unseal"] == 1
        assert actor.errors() == ["unauthenticated"]

    run(history)


def test_06_a_signed_payload_cannot_be_sealed_to_another_recipient() -> None:
    """C writes to S1; S1 seals the same signature and payload to M, as C's."""

    async def history(realm: AttackedRealm) -> None:
        server = await realm.join_actor("s", Role.MPCS)
        client = await realm.join_actor("c", Role.MPCS)
        to_server = Change(recipient=server.principal, seal=KemSeal(server.kem.public))
        written = client.make(client.login(), to_server)
        redirected = server.reseal(written, "manager", realm.keys.kem.public)
        unchanged = server.reseal(written, server.principal, realm.keys.kem.public)
        before = await realm.snapshot()
        for message in (redirected, unchanged):
            realm.inject("manager.authentication", message)
        await realm.settle()
        after, counts = await realm.snapshot(), await realm.count()

        assert before["sessions"] == after["sessions"]
        assert (counts["signature"], counts["recipient"]) == (1, 1)
        assert client.got(AsReply) == []

    run(history)


def test_06_nobody_speaks_in_the_session_of_another() -> None:
    """S1's session with C's name, and C's signature in S1's own session."""

    async def history(realm: AttackedRealm) -> None:
        server = await realm.join_actor("s", Role.MPCS)
        client = await realm.join_actor("c", Role.MPCS)
        as_client = Change(sender=client.principal, seal=server.session_seal())
        by_client = Change(signer=client.signer, seal=server.session_seal())
        before = await realm.snapshot()
        realm.inject("manager.jobs", _as(client, server.make(BUSIER, as_client)))
        realm.inject("manager.jobs", server.make(BUSIER, by_client))
        await realm.settle()
        after, counts = await realm.snapshot(), await realm.count()

        assert before["presences"] == after["presences"]
        assert before["sessions"] == after["sessions"]
        assert (counts["session"], counts["signature"]) == (1, 1)

    run(history)


def _as(actor: Actor, message: Outgoing) -> Outgoing:
    """Return a message as if the broker had it from this actor."""
    return replace(
        message, user_id=actor.principal, routing_key=f"jobs.{actor.principal}"
    )


def test_08_one_mid_with_two_contents_is_equivocation() -> None:
    """The second is dropped, in a session and outside of one."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        first = actor.send(STATUS)
        mid = Change(mid=_mid(first))
        await realm.settle()
        moved = await realm.drops(lambda: actor.put(actor.make(BUSIER, mid)))
        sealed = replace(mid, seal=actor.kem_seal())
        moved_too = await realm.drops(
            lambda: actor.put(actor.make(actor.login(), sealed))
        )

        assert moved == moved_too == {"equivocation": 1}

    run(history)


def _mid(message: Outgoing) -> MessageId:
    return MessageId(bytes.fromhex(message.message_id))


def test_09_one_number_with_two_mids_is_equivocation() -> None:
    """Also when the number is an old one that is still in the window."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        actor.put(actor.make(STATUS), actor.make(STATUS), actor.make(STATUS))
        await realm.settle()
        twice = Change(seal=actor.session_seal(2))

        moved = await realm.drops(lambda: actor.put(actor.make(BUSIER, twice)))

        assert moved == {"equivocation": 1}

    run(history)


def test_11_what_is_left_of_the_window_is_stale_and_a_gap_is_counted() -> None:
    """10,000 numbers are skipped: handled; what comes 4096 later: dropped."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        actor.put(actor.make(BUSIER, Change(seq=actor.seq + 10_001)))
        await realm.settle()
        presence = realm.service._office.memory.presence(actor.principal)
        session = realm.service._office.memory.live_session(actor.principal)
        assert session is not None
        old = Change(seq=session.window.highest - WIDTH)
        zero = Change(seq=0)

        moved = await realm.drops(
            lambda: actor.put(actor.make(STATUS, old), actor.make(STATUS, zero))
        )

        assert presence.slots_free == BUSIER.slots_free
        assert session.window.lost == 10_000
        assert moved == {"stale": 2}

    run(history)


@pytest.mark.parametrize(
    ("change", "counter"),
    [
        (Change(shift_ms=-TEN_MINUTES_MS), "expired"),
        (Change(shift_ms=TEN_MINUTES_MS), "clock_skew"),
    ],
    ids=["exp in the past", "ts in the future"],
)
def test_12_an_envelope_outside_its_time_is_dropped(
    change: Change, counter: str
) -> None:
    """In a session nobody is told: the table says drop."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)

        moved = await realm.drops(lambda: actor.put(actor.make(BUSIER, change)))

        assert moved == {counter: 1}

    run(history)


def test_12_a_login_by_a_wrong_clock_is_told_the_time() -> None:
    """Ten minutes slow or fast, in the header or inside: M's signed time."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.enrol("s", Role.MPCS)
        told: list[tuple[ErrorCode, int | None]] = []
        for shift in (-TEN_MINUTES_MS, TEN_MINUTES_MS):
            inside = {"now": realm.clock.ms + shift}
            for change, fields in (
                (Change(shift_ms=shift), inside),
                (Change(), inside),
                (Change(shift_ms=shift), {}),
            ):
                realm.clock.move(10)  # one error a peer in so long
                sealed = replace(change, seal=actor.kem_seal())
                actor.put(actor.make(actor.login(**fields), sealed))
                await realm.settle()
                [error] = actor.got(ErrorNotice)
                told.append((error.code, error.now and error.now - realm.clock.ms))

        assert told == [(ErrorCode.EXPIRED, 0)] * 6

    run(history)


def test_13_a_down_message_on_the_up_queue_is_reflection() -> None:
    """M's own envelopes come back, as they are and dressed as a participant's."""

    async def history(realm: AttackedRealm) -> None:
        cast = await realm.cast()
        consumer = cast[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        own = realm.sent("job.offer")[0]
        dressed = replace(own, routing_key="jobs.manager")
        before = await realm.count()

        moved = await realm.drops(lambda: realm.inject("manager.jobs", dressed))
        raw = await realm.drops(lambda: realm.inject("manager.jobs", own))

        assert "reflection" not in before
        assert (moved, raw) == ({"reflection": 1}, {"copies": 1})

    run(history)


def test_13_a_participant_cannot_send_what_only_the_manager_says() -> None:
    """A down type in an up envelope, well sealed and signed."""

    async def history(realm: AttackedRealm) -> None:
        cast = await realm.cast()
        consumer = cast[3]
        consumer.send(consumer.job_request())
        await realm.settle()
        offer = consumer.offer()

        moved = await realm.drops(lambda: consumer.put(consumer.make(offer)))

        assert isinstance(offer, JobOffer)
        assert moved == {"reflection": 1}

    run(history)


def test_14_a_header_that_names_another_type_is_dropped() -> None:
    """Signed and sealed by the sender itself: its own lie helps nobody."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        lie = Change(name="log.off")

        before = await realm.snapshot()
        actor.put(actor.make(BUSIER, lie))
        await realm.settle()
        after, counts = await realm.snapshot(), await realm.count()

        assert before["presences"] == after["presences"]
        assert before["outbox"] == after["outbox"]
        assert counts["payload"] == 1

    run(history)


@pytest.mark.parametrize("message", [BUSIER, LogOff(), JobQuery()], ids=repr)
def test_14_a_session_type_in_clear_or_sealed_without_session_is_dropped(
    message: Message,
) -> None:
    """The suite decides who may have written it: one table says which may be."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)

        def attack() -> None:
            for seal in (Clear(), actor.kem_seal()):
                actor.put(actor.make(message, Change(seal=seal)))

        assert await realm.drops(attack) == {"suite": 2}

    run(history)


def test_42_another_broker_user_than_the_signed_sender_is_dropped() -> None:
    """Also one of an enrolment, and the user of M itself."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        users = ("MPC_server_099", "enrol-0011223344556677", "manager", "", "guest")

        def attack() -> None:
            for user in users:
                message = replace(actor.make(BUSIER), user_id=user)
                realm.inject("manager.jobs", message)

        assert await realm.drops(attack) == {"user_id": len(users)}

    run(history)


@pytest.mark.parametrize(
    ("index", "value"), [(3, 2), (3, 0), (4, 0x7F), (4, 0x11), (5, 1)]
)
def test_43_another_version_suite_or_flag_is_dropped(index: int, value: int) -> None:
    """One byte decides, nothing else is read; nobody is told."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)

        moved = await realm.drops(
            lambda: actor.put(actor.spoil(actor.make(BUSIER), index, value))
        )

        assert moved == {"version": 1}

    run(history)


@pytest.mark.parametrize(
    "fields", [{"vers": (2,)}, {"suites": (1, 3)}, {"suites": (0x7F,)}], ids=repr
)
def test_43_a_login_that_speaks_nothing_of_ours_opens_no_session(
    fields: dict[str, object],
) -> None:
    """No silent fallback: ``version``."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.enrol("s", Role.MPCS)
        actor.send_sealed(actor.login(**fields))
        await realm.settle()
        snapshot = await realm.snapshot()

        assert actor.errors() == ["version"]
        assert snapshot["sessions"] == []

    run(history)


def test_43_the_lists_that_came_are_echoed_as_they_came() -> None:
    """So that the participant sees whether somebody took entries out."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.enrol("s", Role.MPCS)
        request = actor.login(vers=(9, 1), suites=(2, 0x11))
        actor.send_sealed(request)
        await realm.settle()
        [reply] = actor.got(AsReply)
        core = actor.open_session(request, reply)

        assert (core.vers_seen, core.suites_seen) == ((9, 1), (2, 0x11))
        assert (core.ver, core.suite) == (1, 2)

    run(history)


def test_52_an_err_changes_nothing_and_is_never_answered() -> None:
    """Signed by its sender, by a stranger, not at all."""

    async def history(realm: AttackedRealm) -> None:
        cast = await realm.cast()
        server = cast[0]
        before = await realm.snapshot()
        notice = ErrorNotice(code=ErrorCode.UNKNOWN_SESSION, re=MessageId(bytes(16)))
        for change in (
            Change(seal=Clear()),
            Change(seal=Clear(), signer=STRANGER),
            Change(),
            Change(signer=STRANGER),
        ):
            server.put(server.make(notice, change))
        await realm.settle()
        after = await realm.snapshot()
        for table in ("presences", "sessions"):
            del before[table], after[table]  # seen, and the number is used up

        assert before == after
        assert server.bodies() == []

    run(history)


def _others(queue: str) -> Iterable[str]:
    return {"manager.registration", "manager.authentication", "manager.jobs"} - {queue}


def test_57_copies_and_deliveries_without_a_user_are_dropped() -> None:
    """CC or BCC header; no user_id; a key or a queue that is not the message's."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        await realm.join_actor("t", Role.MPCS)
        key = f"jobs.{actor.principal}"

        def attack() -> None:
            queue = "manager.jobs"
            realm.inject(queue, actor.make(BUSIER), has_copies=True)
            realm.inject(queue, replace(actor.make(BUSIER), user_id=None))
            for wrong in ("jobs.MPC_server_002", "", "jobs", f"{key}.x", "status"):
                realm.inject(queue, replace(actor.make(BUSIER), routing_key=wrong))
            for other in _others(queue):
                realm.inject(other, actor.make(BUSIER))
                # A blind copy: the first key decides, the queue shows the second.
                realm.inject(other, replace(actor.make(BUSIER), routing_key=key))

        assert await realm.drops(attack) == {"copies": 10, "user_id": 1}

    run(history)


def test_59_an_envelope_signed_for_another_realm_is_dropped() -> None:
    """The same keys, another fingerprint: it is signed over and not sent."""

    async def history(realm: AttackedRealm) -> None:
        actor = await realm.join_actor("s", Role.MPCS)
        other = Change(fingerprint=Fingerprint(bytes([9]) * 32))
        before = await realm.snapshot()
        actor.put(
            actor.make(LogOff(), other),
            actor.make(actor.login(), replace(other, seal=actor.kem_seal())),
        )
        await realm.settle()
        after, counts = await realm.snapshot(), await realm.count()

        assert before["sessions"] == after["sessions"]
        assert counts["signature"] == 2

    run(history)


def test_59_a_registration_that_a_foreign_manager_passes_on_is_dropped() -> None:
    """It has the plaintext with its signature, and the token's broker user."""

    async def history(realm: AttackedRealm) -> None:
        token = await realm.token(Role.MPCS)
        victim = Actor(realm, "victim", token, Role.MPCS)
        foreign = KemKey.from_bytes(bytes([5]) * 32)
        theirs = Change(
            fingerprint=Fingerprint(bytes([9]) * 32), seal=KemSeal(foreign.public)
        )
        written = victim.make(victim.request(), theirs)
        victim.kem, own = foreign, victim.kem
        passed_on = victim.reseal(written, "manager", realm.keys.kem.public)
        victim.kem = own
        realm.inject("manager.registration", passed_on)
        await realm.settle()
        snapshot, counts = await realm.snapshot(), await realm.count()

        assert snapshot["principals"] == []
        assert counts["signature"] == 1

    run(history)
