"""Deliveries are taken in turn and acknowledged with few frames."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shared.transport.base import Delivery
from shared.transport.prefetched import Unacknowledged, Waiting


def delivery(queue: str, tag: int) -> Delivery:
    """Return a delivery that is known by its queue and tag."""
    return Delivery(
        queue=queue,
        body=b"",
        user_id=None,
        has_copies=False,
        redelivered=False,
        tag=tag,
        routing_key=queue,
        message_type=None,
    )


def unacknowledged(count: int) -> Unacknowledged:
    """Return the book of a channel with so many open tags, from 1."""
    book = Unacknowledged()
    for tag in range(1, count + 1):
        book.add(tag)
    return book


def test_a_run_from_the_lowest_tag_is_one_frame() -> None:
    """A batch is a frame, not a frame a message: this is the flood's path."""
    assert unacknowledged(5).acknowledge([1, 2, 3]) == [(3, True)]


def test_one_tag_is_not_multiple() -> None:
    """``multiple`` is said only when it is meant."""
    assert unacknowledged(5).acknowledge([1]) == [(1, False)]


def test_what_is_not_contiguous_is_acknowledged_one_by_one() -> None:
    """``multiple`` must not cover a delivery that is still being handled."""
    assert unacknowledged(6).acknowledge([5, 1, 3, 2]) == [(3, True), (5, False)]


def test_a_second_acknowledgement_is_passed_over() -> None:
    """AMQP closes the channel for an unknown tag."""
    book = unacknowledged(3)
    book.acknowledge([1, 2])

    assert book.acknowledge([1, 2, 99]) == []


@given(st.lists(st.sets(st.integers(1, 30)), max_size=8))
def test_exactly_the_named_tags_are_acknowledged(batches: list[set[int]]) -> None:
    """Whatever the order, the broker's view equals ours."""
    book = unacknowledged(30)
    at_broker = set(range(1, 31))
    for batch in batches:
        for tag, multiple in book.acknowledge(batch):
            covered = {t for t in at_broker if t <= tag} if multiple else {tag}

            assert covered <= at_broker
            at_broker -= covered

    assert at_broker == set(range(1, 31)) - set().union(*batches)


def tags(batch: Sequence[Delivery]) -> list[tuple[str, object]]:
    """Return what identifies the deliveries."""
    return [(item.queue, item.tag) for item in batch]


def test_queues_are_taken_in_turn() -> None:
    """A flood on one queue starves no other."""
    waiting = Waiting()
    for tag in range(100):
        waiting.add(delivery("flood", tag))
    waiting.add(delivery("quiet", 0))

    batch = waiting.take(3)

    assert tags(batch) == [("flood", 0), ("quiet", 0), ("flood", 1)]


def test_the_turn_goes_on_in_the_next_batch() -> None:
    """With batches of one the second queue still has its turn."""
    waiting = Waiting()
    for tag in range(3):
        waiting.add(delivery("a", tag))
        waiting.add(delivery("b", tag))

    order = [tags(waiting.take(1))[0] for _ in range(6)]

    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert waiting.is_empty
    assert waiting.take(5) == []


def test_what_waited_from_a_lost_queue_is_forgotten() -> None:
    """The broker delivers it again, under another tag."""
    waiting = Waiting()
    waiting.add(delivery("a", 1))
    waiting.add(delivery("b", 1))

    waiting.drop("a")

    assert tags(waiting.take(5)) == [("b", 1)]
