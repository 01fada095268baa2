"""What a check of the broker calls wrong."""

from datetime import timedelta

import pytest

from manager.broker.health import (
    Finding,
    Limits,
    NodeState,
    QueueState,
    Snapshot,
    _stood,
    judge,
)
from shared.topology import DEAD_LETTER, MANAGER_QUEUES, QUEUE_JOBS, UNROUTABLE

INBOX = "mpcs.MPC_server_001"
ABSENT = "client.Liberty001"
LIMITS = Limits(waiting=10, dead_letters=2, standstill=timedelta(seconds=30))


def snapshot(*changed: QueueState, node: NodeState | None = None) -> Snapshot:
    """Return a broker in order, but for what is said."""
    names = (*MANAGER_QUEUES, INBOX, DEAD_LETTER, UNROUTABLE)
    queues = {
        name: QueueState(name, 0, int(name not in {DEAD_LETTER, UNROUTABLE}))
        for name in names
    } | {queue.name: queue for queue in changed}
    return Snapshot((node or NodeState("n1"),), tuple(queues.values()))


def wrong(found: list[Finding]) -> list[tuple[str, str]]:
    """Return check and subject of everything that is not well."""
    return [(each.check, each.subject) for each in found if not each.is_well]


def test_a_broker_in_order_has_a_line_for_each_check() -> None:
    """Somebody who reads it sees that all was looked at."""
    found = judge(snapshot(), [INBOX], LIMITS)

    assert wrong(found) == []
    assert [each.check for each in found] == [
        "node",
        "reader",
        "backlog",
        "dead letters",
        "standstill",
    ]


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (NodeState("n1", is_running=False), "does not run"),
        (NodeState("n1", has_memory_alarm=True), "memory alarm"),
        (NodeState("n1", has_disk_alarm=True), "disk alarm"),
    ],
)
def test_a_node_with_an_alarm_is_wrong(node: NodeState, text: str) -> None:
    """Nobody can publish while one lasts."""
    [first, *_] = judge(snapshot(node=node), [INBOX], LIMITS)

    assert (first.check, first.is_well) == ("node", False)
    assert text in first.found


@pytest.mark.parametrize(
    ("queue", "check"),
    [
        (QueueState(QUEUE_JOBS, 0, 0), "reader"),
        (QueueState(INBOX, 0, 0), "reader"),
        (QueueState(INBOX, 11, 1), "backlog"),
        (QueueState(ABSENT, 11, 0), "backlog"),
        (QueueState(DEAD_LETTER, 3, 0), "dead letters"),
        (QueueState(UNROUTABLE, 3, 0), "dead letters"),
        (QueueState(QUEUE_JOBS, 1, 1, timedelta(seconds=31)), "standstill"),
    ],
)
def test_what_is_beyond_a_limit_is_wrong(queue: QueueState, check: str) -> None:
    """Once, at the queue that it is about."""
    found = judge(snapshot(queue), [INBOX], LIMITS)

    assert wrong(found) == [(check, queue.name)]


@pytest.mark.parametrize(
    "queue",
    [
        QueueState(INBOX, 10, 1, timedelta(seconds=30)),
        QueueState(ABSENT, 10, 0, timedelta(hours=1)),
        QueueState(DEAD_LETTER, 2, 0, timedelta(hours=1)),
    ],
)
def test_what_is_at_a_limit_is_well(queue: QueueState) -> None:
    """So is an inbox that nobody needs to read: its owner is not there."""
    assert wrong(judge(snapshot(queue), [INBOX], LIMITS)) == []


def test_an_inbox_that_is_not_there_is_wrong() -> None:
    """Its owner is online for the manager, and gets nothing."""
    found = judge(snapshot(), [INBOX, ABSENT], LIMITS)

    assert wrong(found) == [("reader", ABSENT)]


def test_a_broker_without_samples_is_not_called_well() -> None:
    """It may be set so that it keeps none: then nobody would ever be told."""
    unknown = [QueueState(name, 5, 1, None) for name in (*MANAGER_QUEUES, INBOX)]
    found = judge(snapshot(*unknown), [INBOX], LIMITS)

    assert wrong(found) == [("standstill", "all")]


def samples(*values: int) -> dict[str, object]:
    """Return RabbitMQ's samples, the newest first, one each five seconds."""
    return {
        "samples": [
            {"timestamp": 1_000_000 - 5000 * index, "sample": value}
            for index, value in enumerate(values)
        ]
    }


@pytest.mark.parametrize(
    ("lengths", "acks", "seconds"),
    [
        ((3, 3, 2, 1, 0), (), 15),
        ((0, 3, 3), (), 0),
        ((3, 3, 3, 3), (7, 7, 7, 6), 10),
        ((3, 3, 3, 3), (9, 8, 7, 6), 0),
        ((), (), None),
    ],
)
def test_a_standstill_is_read_from_samples(
    lengths: tuple[int, ...], acks: tuple[int, ...], seconds: int | None
) -> None:
    """Messages at every sample, and no acknowledgement between them."""
    entry: dict[str, object] = {"message_stats": []}
    if lengths:
        entry["messages_details"] = samples(*lengths)
    if acks:
        entry["message_stats"] = {"ack_details": samples(*acks)}

    expected = None if seconds is None else timedelta(seconds=seconds)

    assert _stood(entry) == expected
