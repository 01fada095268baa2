"""A broker in memory: the topology's queues, hostile on demand, no real time.

Nothing moves by itself. A published message is *in flight* until ``step`` puts it
in its queue, and the caller's entropy decides every fault: one seed, one history.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared import topology
from shared.clock import MILLISECOND
from shared.transport.base import (
    NotConfirmedError,
    Outgoing,
    Publication,
    RefusedByBrokerError,
)

_HINT = "declare it on the MemoryBroker first"
_ALL = topology.Permissions(configure=".*", write=".*", read=".*")


@dataclass(frozen=True, slots=True)
class Faults:
    """How often the broker misbehaves, each from 0 to 1, decided at each step."""

    drop: float = 0.0
    """Loses a message that it confirmed: only a hostile broker does."""
    duplicate: float = 0.0
    """Delivers a message once more, later."""
    reorder: float = 0.0
    """Delivers any message in flight instead of the oldest."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message inside the broker."""

    message: Outgoing
    expires: datetime | None
    has_copies: bool = False
    redelivered: bool = False
    is_duplicate: bool = False


@dataclass(slots=True)
class _Queue:
    limit: int | None
    in_flight: deque[tuple[int, Letter]] = field(default_factory=deque)
    ready: deque[Letter] = field(default_factory=deque)
    taken: dict[int, tuple[object, Letter]] = field(default_factory=dict)
    consumers: list[object] = field(default_factory=list)


class MemoryBroker:
    """Exchanges and the manager's queues exist; inboxes are declared.

    Args:
        entropy: returns so many bytes; from a seed in a simulation.
        faults: none by default; may be replaced at any time.
        now: for messages that expire; without it none does.
    """

    def __init__(
        self,
        entropy: Callable[[int], bytes],
        faults: Faults | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.seen: list[Outgoing] = []
        """Every message that the broker ever got: what a spy there knows."""
        self.dropped = 0
        self.expired = 0
        self.moved: list[Callable[[], None]] = []
        """Called after each step and crash; transports wake their waiters so."""
        self._entropy = entropy
        self._now = now
        self._queues: dict[str, _Queue] = {}
        self._bindings = list(topology.BINDINGS)
        self._users: dict[str, topology.Permissions] = {}
        self._count = 0
        for queue in topology.QUEUES:
            self._add(queue)

    def declare(self, queue: topology.Queue) -> None:
        """Make an inbox or enrolment queue, bound to its own name."""
        if queue.name not in self._queues:
            self._add(queue)
            self._bindings.append(topology.binding_of(queue))

    def delete(self, queue: str) -> None:
        """Remove a queue with all that is in it."""
        self._queues.pop(queue, None)
        self._bindings = [b for b in self._bindings if b.queue != queue]

    def restrict(self, user: str, permissions: topology.Permissions) -> None:
        """Hold a user to its permissions; who has none may do everything."""
        self._users[user] = permissions

    def step(self) -> bool:
        """Move one message in flight; say whether there was one."""
        busy = [
            (q.in_flight[0][0], name) for name, q in self._queues.items() if q.in_flight
        ]
        if not busy:
            return False
        name, index = min(busy)[1], 0
        if self._happens(self.faults.reorder):
            name = busy[self._below(len(busy))][1]
            index = self._below(len(self._queues[name].in_flight))
        queue = self._queues[name]
        _, letter = queue.in_flight[index]
        del queue.in_flight[index]
        if not letter.is_duplicate and self._happens(self.faults.duplicate):
            self._count += 1
            queue.in_flight.append((self._count, replace(letter, is_duplicate=True)))
        if self._happens(self.faults.drop):
            self.dropped += 1
        else:
            queue.ready.append(letter)
        self._wake()
        return True

    def settle(self) -> int:
        """Step until nothing is in flight; return how many steps that took."""
        steps = 0
        while self.step():
            steps += 1
        return steps

    def inject(
        self, queue: str, message: Outgoing, *, has_copies: bool = False
    ) -> None:
        """Put any message into any queue, unchecked, as a hostile broker can."""
        self._enqueue(queue, message, has_copies=has_copies)

    def publish(self, user: str, message: Outgoing) -> Publication:
        """Route one message of a user.

        Raises:
            RefusedByBrokerError: a false ``user_id``, no permission, no exchange.
            NotConfirmedError: the queue is full.
        """
        self.seen.append(message)
        exchange = next(
            (e for e in topology.EXCHANGES if e.name == message.exchange), None
        )
        if exchange is None:
            raise RefusedByBrokerError(f"no exchange {message.exchange!r}", _HINT)
        self._check_publisher(user, message)
        names = self._route(exchange, message.routing_key)
        alternate = dict(exchange.arguments).get("alternate-exchange")
        if not names and alternate is not None:
            names = [b.queue for b in self._bindings if b.exchange == alternate]
        for name in names:
            limit = self._queues[name].limit
            if limit is not None and self.depth(name) >= limit:
                raise NotConfirmedError(f"queue {name!r} is full", (None,))
        for name in names:
            self._enqueue(name, message)
        return Publication.CONFIRMED if names else Publication.RETURNED

    def consume(self, user: str, queue: str, consumer: object) -> None:
        """Add a consumer; the first one of a queue is the active one.

        Raises:
            RefusedByBrokerError: no such queue, or not the user's.
        """
        found = self._queues.get(queue)
        if found is None:
            raise RefusedByBrokerError(f"no queue {queue!r}", _HINT)
        if not re.search(self._users.get(user, _ALL).read, queue):
            raise RefusedByBrokerError(f"{user!r} may not read {queue!r}")
        if consumer not in found.consumers:
            found.consumers.append(consumer)

    def leave(self, consumer: object, queue: str | None = None) -> None:
        """End a consumer, on one queue or all; what it holds is redelivered."""
        for name in [queue] if queue is not None else list(self._queues):
            found = self._queues.get(name)
            if found is not None and consumer in found.consumers:
                found.consumers.remove(consumer)
                self._give_back(found, consumer)
        self._wake()

    def crash(self) -> None:
        """Break every connection at once; the durable queues keep everything.

        Transports come back by themselves; what they held is redelivered.
        """
        for queue in self._queues.values():
            for consumer in queue.consumers:
                self._give_back(queue, consumer)
        self._wake()

    def take(
        self, consumer: object, queue: str, prefetch: int
    ) -> tuple[int, Letter] | None:
        """Give the active consumer the next message and its delivery number."""
        found = self._queues.get(queue)
        if found is None or not found.consumers or found.consumers[0] is not consumer:
            return None
        while found.ready and len(found.taken) < prefetch:
            letter = found.ready.popleft()
            if letter.expires and self._now and letter.expires <= self._now():
                self.expired += 1
                continue
            self._count += 1
            found.taken[self._count] = (consumer, letter)
            return self._count, letter
        return None

    def ack(self, queue: str, number: int) -> None:
        """Forget a delivery; a number that is not open is passed over."""
        if queue in self._queues:
            self._queues[queue].taken.pop(number, None)

    def consumer_count(self, queue: str) -> int | None:
        """Return the consumers of a queue, ``None`` if there is none such."""
        found = self._queues.get(queue)
        return None if found is None else len(found.consumers)

    def depth(self, queue: str) -> int:
        """Return how many messages a queue holds, in flight and taken included."""
        found = self._queues[queue]
        return len(found.in_flight) + len(found.ready) + len(found.taken)

    def _add(self, queue: topology.Queue) -> None:
        arguments = dict(queue.arguments)
        rejects = arguments.get("x-overflow") == "reject-publish"
        self._queues[queue.name] = _Queue(
            int(arguments["x-max-length"]) if rejects else None
        )

    def _check_publisher(self, user: str, message: Outgoing) -> None:
        if message.user_id not in {None, user}:
            raise RefusedByBrokerError(
                f"user_id {message.user_id!r} is not the user {user!r}"
            )
        permissions = self._users.get(user, _ALL)
        topic = permissions.topic_write
        if not re.search(permissions.write, message.exchange) or (
            topic is not None and not re.search(topic, message.routing_key)
        ):
            raise RefusedByBrokerError(
                f"{user!r} may not publish {message.routing_key!r}"
                f" to {message.exchange!r}"
            )

    def _route(self, exchange: topology.Exchange, routing_key: str) -> list[str]:
        bound = [b for b in self._bindings if b.exchange == exchange.name]
        if exchange.type is topology.ExchangeType.TOPIC:
            return [b.queue for b in bound if _matches(b.routing_key, routing_key)]
        is_fanout = exchange.type is topology.ExchangeType.FANOUT
        return [b.queue for b in bound if is_fanout or b.routing_key == routing_key]

    def _enqueue(
        self, name: str, message: Outgoing, *, has_copies: bool = False
    ) -> None:
        expires = None
        if self._now is not None and message.expiration_ms is not None:
            expires = self._now() + message.expiration_ms * MILLISECOND
        self._count += 1
        letter = Letter(message, expires, has_copies)
        self._queues[name].in_flight.append((self._count, letter))

    def _give_back(self, queue: _Queue, consumer: object) -> None:
        numbers = [n for n, (holder, _) in queue.taken.items() if holder is consumer]
        for number in reversed(numbers):
            _, letter = queue.taken.pop(number)
            queue.ready.appendleft(replace(letter, redelivered=True))

    def _happens(self, probability: float) -> bool:
        if probability <= 0.0:
            return False
        return int.from_bytes(self._entropy(4)) < probability * 2**32

    def _below(self, limit: int) -> int:
        return int.from_bytes(self._entropy(4)) % limit

    def _wake(self) -> None:
        for callback in self.moved:
            callback()


def _matches(pattern: str, routing_key: str) -> bool:
    """Say whether a topic pattern of words and ``*`` fits a routing key."""
    words, key = pattern.split("."), routing_key.split(".")
    return len(words) == len(key) and all(
        word in {"*", part} for word, part in zip(words, key, strict=True)
    )
