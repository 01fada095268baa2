"""What is wrong at the broker: alarms, backlog, dead letters, nobody who reads.

``take_snapshot`` asks, ``judge`` decides: a snapshot and limits in, findings out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from manager.broker.api import ManagementApi
from shared.errors import TransportError
from shared.names import Realm
from shared.topology import DEAD_LETTER, MANAGER_QUEUES, UNROUTABLE

LONGEST_STANDSTILL = timedelta(minutes=10)
"""RabbitMQ keeps fine samples of a queue for so long."""
STEP = timedelta(seconds=5)
"""How often RabbitMQ samples, as ``broker_config/rabbitmq.conf`` sets it."""

_SECOND = timedelta(seconds=1)
_MILLISECOND = timedelta(milliseconds=1)
_LETTERS = frozenset({DEAD_LETTER, UNROUTABLE})
_NODE_COLUMNS = "name,running,mem_alarm,disk_free_alarm"
_QUEUE_COLUMNS = (
    "name,messages,consumers,messages_details.samples,message_stats.ack_details.samples"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on something is wrong.

    ``waiting``: messages in one queue. ``dead_letters``: in the queue of what expired
    or was given up, or of what no queue wanted. ``standstill``: how long messages may
    wait in a queue that somebody should read without one being acknowledged.
    """

    waiting: int = 1000
    dead_letters: int = 100
    standstill: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue.

    ``stood``: how long there were messages and none was acknowledged, up to
    RabbitMQ's last sample; ``None`` where there is no sample.
    """

    name: str
    messages: int
    consumers: int
    stood: timedelta | None = timedelta()


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node of the broker; an alarm blocks everybody who publishes."""

    name: str
    is_running: bool = True
    has_memory_alarm: bool = False
    has_disk_alarm: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The broker at one moment."""

    nodes: tuple[NodeState, ...]
    queues: tuple[QueueState, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check: what was looked at, how it is, whether that is well."""

    check: str
    subject: str
    found: str
    is_well: bool


def judge(
    snapshot: Snapshot, inboxes_online: Iterable[str], limits: Limits
) -> list[Finding]:
    """Return everything that is wrong, and one line for each check that finds nothing.

    Args:
        snapshot: the broker.
        inboxes_online: queues of those whom the manager takes for online.
        limits: from where on something is wrong.
    """
    queues = {queue.name: queue for queue in snapshot.queues}
    awaited = (*MANAGER_QUEUES, *sorted(inboxes_online))
    return [
        *(_node(node) for node in snapshot.nodes),
        *_readers(awaited, queues),
        *_backlog([q for q in snapshot.queues if q.name not in _LETTERS], limits),
        *_dead_letters([q for q in snapshot.queues if q.name in _LETTERS], limits),
        *_standstill([queues[name] for name in awaited if name in queues], limits),
    ]


def take_snapshot(api: ManagementApi, vhost: Realm, window: timedelta) -> Snapshot:
    """Ask the broker how it is.

    Args:
        api: as a user who may see every node.
        vhost: whose queues.
        window: how far back samples are looked at.

    Raises:
        TransportError: the broker is not there, refuses, or answers something else.
    """
    age, step = window + 2 * STEP, STEP // _SECOND
    ranges = "&".join(
        f"{kind}_age={age // _SECOND}&{kind}_incr={step}"
        for kind in ("lengths", "msg_rates")
    )
    nodes = _entries(api.get("nodes", query=f"?columns={_NODE_COLUMNS}"))
    queues = _entries(
        api.get("queues", vhost, query=f"?{ranges}&columns={_QUEUE_COLUMNS}")
    )
    return Snapshot(
        tuple(
            NodeState(
                str(entry.get("name")),
                entry.get("running") is True,
                entry.get("mem_alarm") is True,
                entry.get("disk_free_alarm") is True,
            )
            for entry in nodes
        ),
        tuple(
            QueueState(
                str(entry.get("name")),
                _number(entry.get("messages")),
                _number(entry.get("consumers")),
                _stood(entry),
            )
            for entry in queues
        ),
    )


def _node(node: NodeState) -> Finding:
    alarms = [
        text
        for text, is_on in (
            ("does not run", not node.is_running),
            ("memory alarm: publishers are blocked", node.has_memory_alarm),
            ("disk alarm: publishers are blocked", node.has_disk_alarm),
        )
        if is_on
    ]
    return Finding("node", node.name, ", ".join(alarms) or "runs", not alarms)


def _readers(
    awaited: Sequence[str], queues: Mapping[str, QueueState]
) -> Iterable[Finding]:
    wrong = [
        Finding(
            "reader",
            name,
            "nobody reads it" if name in queues else "there is no such queue",
            is_well=False,
        )
        for name in awaited
        if name not in queues or not queues[name].consumers
    ]
    text = f"{len(awaited)} queues of the manager and of who is online are read"
    return wrong or [Finding("reader", "all", text, is_well=True)]


def _backlog(queues: Sequence[QueueState], limits: Limits) -> Iterable[Finding]:
    return _most("backlog", queues, limits.waiting)


def _dead_letters(queues: Sequence[QueueState], limits: Limits) -> Iterable[Finding]:
    return _most("dead letters", queues, limits.dead_letters)


def _most(check: str, queues: Sequence[QueueState], limit: int) -> Iterable[Finding]:
    """Return each queue that holds more than a limit, or else the fullest."""
    wrong = [queue for queue in queues if queue.messages > limit]
    fullest = sorted(queues, key=lambda queue: queue.messages)[-1:]
    return [
        Finding(
            check,
            queue.name,
            f"{queue.messages} messages (limit {limit})",
            queue.messages <= limit,
        )
        for queue in wrong or fullest
    ]


def _standstill(queues: Sequence[QueueState], limits: Limits) -> Iterable[Finding]:
    """Return each queue that stands for longer than the limit, or else the longest."""
    known = [(queue.stood, queue) for queue in queues if queue.stood is not None]
    if not known:
        text = "not known: RabbitMQ has no samples yet, or is set to keep none"
        return [Finding("standstill", "all", text, is_well=False)]
    limit = limits.standstill
    wrong = [(stood, queue) for stood, queue in known if stood > limit]
    longest = max(known, key=lambda each: each[0])
    return [
        Finding(
            "standstill",
            queue.name,
            f"{queue.messages} messages, none acknowledged for"
            f" {stood // _SECOND} s (limit {limit // _SECOND} s)"
            if stood
            else f"nothing stands still (limit {limit // _SECOND} s)",
            stood <= limit,
        )
        for stood, queue in wrong or [longest]
    ]


def _stood(entry: Mapping[str, object]) -> timedelta | None:
    """Return for how long no message went although there was one, if that is known."""
    lengths = _samples(entry, "messages_details")
    acknowledged = dict(_samples(entry.get("message_stats"), "ack_details"))
    if not lengths:
        return None
    newest = since = lengths[0][0]
    last = max(acknowledged.values(), default=0)
    for at, messages in lengths:
        if not messages or acknowledged.get(at, last) != last:
            break
        since = at
    return (newest - since) * _MILLISECOND


def _samples(entry: object, name: str) -> list[tuple[int, int]]:
    """Return time (ms) and value of each sample, the newest first."""
    details = entry.get(name) if isinstance(entry, dict) else None
    samples = details.get("samples") if isinstance(details, dict) else None
    found = [
        (_number(sample.get("timestamp")), _number(sample.get("sample")))
        for sample in (samples if isinstance(samples, list) else ())
        if isinstance(sample, dict)
    ]
    return sorted(found, reverse=True)


def _entries(answer: object) -> list[dict[str, object]]:
    if not isinstance(answer, list) or not all(isinstance(e, dict) for e in answer):
        raise TransportError(
            "the broker's management api does not answer with a list",
            "see that the url is that of RabbitMQ's management api",
        )
    return answer


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
