"""Confirms are matched to messages whatever way the broker bundles them."""

import asyncio

import pytest

from shared.transport.base import LinkLostError, Outgoing, Publication
from shared.transport.confirms import Attempt, Confirms

CONFIRMED, RETURNED = Publication.CONFIRMED, Publication.RETURNED


def outgoing(message_id: str, routing_key: str = "jobs.x") -> Outgoing:
    """Return a message that differs from others by its id and routing key."""
    return Outgoing(
        exchange="mpc.manager",
        routing_key=routing_key,
        body=b"sealed",
        message_id=message_id,
        type="status",
        correlation_id=None,
        expiration_ms=None,
        timestamp=0,
        user_id=None,
        app_id="test",
    )


def test_a_multiple_ack_settles_all_lower_tags() -> None:
    """RabbitMQ bundles confirms under load."""
    attempt = Attempt(11, [outgoing(name) for name in "abc"])

    attempt.settle(12, multiple=True, accepted=True)

    assert attempt.outcomes == [CONFIRMED, CONFIRMED, None]
    assert not attempt.is_settled


def test_acks_may_come_in_any_order() -> None:
    """A quorum queue confirms later than an unroutable message returns."""
    attempt = Attempt(1, [outgoing(name) for name in "abc"])

    for tag in (3, 1, 2):
        attempt.settle(tag, multiple=False, accepted=True)

    assert attempt.outcomes == [CONFIRMED] * 3
    assert attempt.is_settled


def test_a_return_marks_its_message_only() -> None:
    """One party offline says nothing about the others."""
    attempt = Attempt(1, [outgoing("a", "x"), outgoing("b", "y"), outgoing("c", "z")])

    attempt.returned("mpc.manager", "y", "b")
    attempt.settle(3, multiple=True, accepted=True)

    assert attempt.outcomes == [CONFIRMED, RETURNED, CONFIRMED]


def test_returns_of_equal_messages_mark_one_each() -> None:
    """A stored answer may be in one batch twice."""
    attempt = Attempt(1, [outgoing("a"), outgoing("a"), outgoing("a")])

    attempt.returned("mpc.manager", "jobs.x", "a")
    attempt.settle(1, multiple=False, accepted=True)
    attempt.returned("mpc.manager", "jobs.x", "a")
    attempt.settle(3, multiple=True, accepted=True)

    assert attempt.outcomes == [RETURNED, RETURNED, CONFIRMED]


def test_a_nack_leaves_the_message_open() -> None:
    """A full queue or one without a leader: to be tried again."""
    attempt = Attempt(1, [outgoing("a"), outgoing("b")])

    attempt.settle(1, multiple=False, accepted=False)
    attempt.settle(2, multiple=False, accepted=True)

    assert attempt.outcomes == [None, CONFIRMED]
    assert attempt.is_settled


@pytest.mark.parametrize("tag", [1, 4, 5, 9, 1000])
def test_tags_of_other_attempts_change_nothing(tag: int) -> None:
    """An attempt that timed out may still be confirmed later."""
    attempt = Attempt(6, [outgoing("a"), outgoing("b"), outgoing("c")])

    attempt.settle(tag, multiple=False, accepted=True)

    assert attempt.outcomes == [None, None, None]


def test_tags_are_counted_on_over_attempts() -> None:
    """AMQP counts a channel's messages, not a batch's."""

    async def scenario() -> tuple[list[Publication | None], list[str]]:
        confirms = Confirms()
        written: list[str] = []

        def write(message: Outgoing) -> None:
            written.append(message.message_id)

        _, answered = confirms.attempt([outgoing("a"), outgoing("b")], write)
        confirms.settle(2, multiple=True, accepted=True)
        await answered
        attempt, answered = confirms.attempt([outgoing("c")], write)
        confirms.settle(3, multiple=False, accepted=True)
        await answered
        return attempt.outcomes, written

    outcomes, written = asyncio.run(scenario())

    assert outcomes == [CONFIRMED]
    assert written == ["a", "b", "c"]


def test_the_end_of_the_channel_ends_the_wait() -> None:
    """Nobody waits for a confirm that cannot come."""

    async def scenario() -> None:
        confirms = Confirms()
        _, answered = confirms.attempt([outgoing("a")], lambda _: None)
        confirms.fail(LinkLostError("gone"))
        await answered

    with pytest.raises(LinkLostError):
        asyncio.run(scenario())


def test_confirms_without_an_attempt_are_passed_over() -> None:
    """The broker's frames are not ours to crash on."""
    confirms = Confirms()

    confirms.returned("mpc.manager", "jobs.x", "a")
    confirms.settle(1, multiple=True, accepted=True)
    confirms.fail(LinkLostError("gone"))
