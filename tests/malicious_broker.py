"""A broker that does what it likes: everything it carries goes through here first.

It is the real RabbitMQ with its administrator turned bad. Every queue is bound to
exchanges of its own, and what parties publish comes to it; as an impersonator it may
say of any message that any user published it. What it does with a message of a job
follows from a seed.
"""

import secrets
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, unique
from urllib.parse import urlsplit

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from manager.broker.access import BrokerAccess
from shared import topology
from shared.topology import User, broker_password_hash
from tests.simulation.dice import Dice

NAME = "evil"
UP, DOWN = "evil.manager", "evil.participants"
"""Its exchanges, to which the real queues are bound."""
TAKEN_UP, TAKEN_DOWN = "evil.up", "evil.down"
"""Its queues, to which the realm's exchanges are bound."""
KEPT = 400
"""Messages that it keeps to say them again."""
LONGEST_DELAY = 1500
"""Milliseconds."""
MESSAGES_OF_A_JOB = 24
"""Of which some are attacked: a job of six parties has about as many."""
STRAY = 4
"""Percent of the messages of no job that are attacked."""


@unique
class Attack(StrEnum):
    """What it does with a message."""

    DROP = "drop"
    DELAY = "delay"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    INJECT = "inject"
    ALTER = "alter"
    TRUNCATE = "truncate"
    REDIRECT = "redirect"
    SPLICE = "splice"
    REPLAY = "replay"
    RENAME = "rename"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was taken. ``is_up``: to the manager."""

    is_up: bool
    key: str
    properties: BasicProperties
    body: bytes

    @property
    def job(self) -> str | None:
        """The job's id in hex, if the message is about one."""
        job: str | None = self.properties.correlation_id
        return job


@dataclass
class Schedule:
    """What is done with which messages of one job; it follows from the seed."""

    seed: int
    seen: int = 0
    attacks: dict[int, Attack] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Choose one to four messages and what happens to them."""
        self.dice = Dice(f"attack {self.seed}")
        for _ in range(1 + self.dice.below(4)):
            at = self.dice.below(MESSAGES_OF_A_JOB)
            self.attacks[at] = self.dice.pick(list(Attack))

    def next(self) -> Attack | None:
        """Return what is done with the job's next message."""
        attack = self.attacks.get(self.seen)
        self.seen += 1
        return attack


def _impersonator(password: str) -> User:
    """Return a broker user who may do everything, and be everybody."""
    hashed = broker_password_hash(password, secrets.token_bytes(4))
    return User(NAME, hashed, topology.ADMIN_PERMISSIONS, ("impersonator",))


class MaliciousBroker(threading.Thread):
    """The attacker, in a thread with its own connection.

    Args:
        access: with the rights of the broker's administrator.
        inboxes: the participants' queues.
        seeds: of the jobs, in the order in which they come by.
    """

    def __init__(
        self, access: BrokerAccess, inboxes: Sequence[str], seeds: Sequence[int]
    ) -> None:
        super().__init__(name="malicious broker", daemon=True)
        self._access = access
        self._inboxes = tuple(inboxes)
        self._seeds = deque(seeds)
        self._dice = Dice(f"attacks {seeds[0]}")
        self._kept: deque[Message] = deque(maxlen=KEPT)
        self._held: dict[str | None, Message] = {}
        self._stopped = threading.Event()
        self.is_honest = False
        self.schedules: dict[str, Schedule] = {}
        self.done: Counter[Attack] = Counter()
        self.failure: Exception | None = None

    def run(self) -> None:
        """Take what comes until stopped, then leave everything as it was."""
        try:
            connection = self._connected()
            channel = connection.channel()
            self._channel, self._connection = channel, connection
            channel.basic_qos(prefetch_count=64)
            self._turn(channel)
            for queue in (TAKEN_UP, TAKEN_DOWN):
                channel.basic_consume(queue, self._taken)
            while not self._stopped.is_set():
                connection.process_data_events(time_limit=0.05)
            self._turn_back(channel)
            connection.close()
        except Exception as error:  # noqa: BLE001 - kept for the test
            self.failure = error

    def stop(self) -> None:
        """End it, and wait until everything is as it was."""
        self._stopped.set()
        self.join(30)
        if self.failure is not None:
            raise self.failure

    def give_back(self, job: str) -> None:
        """Let another job have the seed of one that did not begin."""
        schedule = self.schedules.pop(job, None)
        if schedule is not None:
            self._seeds.append(schedule.seed)

    def replay_everything(self, queue: str) -> int:
        """Say everything again that ever went into an inbox; return how much."""
        past = [m for m in self._kept if not m.is_up and m.key == queue]
        for message in past:
            self._connection.add_callback_threadsafe(self._sending(message))
        return len(past)

    # ---- what it does to the broker ----

    def _connected(self) -> pika.BlockingConnection:
        url = urlsplit(self._access.amqp_url)
        context = ssl.create_default_context(cadata=self._access.authority)
        with self._access.admin() as admin:
            admin._make_user(_impersonator(password := secrets.token_hex()))
        return pika.BlockingConnection(
            pika.ConnectionParameters(
                url.hostname or "",
                url.port or 0,
                str(self._access.vhost),
                pika.PlainCredentials(NAME, password),
                ssl_options=pika.SSLOptions(context, url.hostname),
            )
        )

    def _turn(self, channel: BlockingChannel) -> None:
        """Put itself between the exchanges and the queues."""
        channel.exchange_declare(UP, "topic")
        channel.exchange_declare(DOWN, "direct")
        for queue in (TAKEN_UP, TAKEN_DOWN):
            channel.queue_declare(queue)
        for binding in topology.BINDINGS:
            if binding.exchange == topology.MANAGER_EXCHANGE:
                channel.queue_bind(binding.queue, UP, binding.routing_key)
        channel.queue_bind(TAKEN_UP, topology.MANAGER_EXCHANGE, "#")
        for inbox in self._inboxes:
            channel.queue_bind(inbox, DOWN, inbox)
            channel.queue_bind(TAKEN_DOWN, topology.PARTICIPANTS_EXCHANGE, inbox)
        self._real(channel.queue_unbind)

    def _turn_back(self, channel: BlockingChannel) -> None:
        """Undo it; what it holds back is let go."""
        self._real(channel.queue_bind)
        for queue in (TAKEN_UP, TAKEN_DOWN):
            channel.queue_delete(queue)
        for exchange in (UP, DOWN):
            channel.exchange_delete(exchange)

    def _real(self, change: Callable[[str, str, str], object]) -> None:
        for binding in topology.BINDINGS:
            if binding.exchange == topology.MANAGER_EXCHANGE:
                change(binding.queue, binding.exchange, binding.routing_key)
        for inbox in self._inboxes:
            change(inbox, topology.PARTICIPANTS_EXCHANGE, inbox)

    # ---- what it does to messages ----

    def _taken(
        self,
        channel: BlockingChannel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        assert method.routing_key is not None
        assert method.delivery_tag is not None
        is_up = method.exchange == topology.MANAGER_EXCHANGE
        message = Message(is_up, method.routing_key, properties, body)
        attack = None if self.is_honest else self._chosen(message)
        held = self._held.pop(message.job, None)
        if attack is None:
            self._send(message)
        else:
            self.done[attack] += 1
            self._attack(attack, message)
        if held is not None:
            self._send(held)
        self._kept.append(message)
        channel.basic_ack(method.delivery_tag)

    def _chosen(self, message: Message) -> Attack | None:
        if message.job is None:
            stray = self._dice.happens(STRAY)
            return self._dice.pick(list(Attack)) if stray else None
        schedule = self.schedules.get(message.job)
        if schedule is None:
            # Of a job that did not begin something may come after its end.
            schedule = Schedule(self._seeds.popleft() if self._seeds else 0)
            self.schedules[message.job] = schedule
        return schedule.next()

    def _attack(self, attack: Attack, message: Message) -> None:
        dice = self._dice
        if message.job is not None:
            dice = self.schedules[message.job].dice
        past = dice.pick(self._kept) if self._kept else message
        if attack in {Attack.INJECT, Attack.REPLAY, Attack.DUPLICATE}:
            self._send(message)
        _ACTS[attack](self, dice, message, past)

    def _drop(self, _: Dice, __: Message, ___: Message) -> None:
        """Say nothing of it, ever."""

    def _delay(self, dice: Dice, message: Message, _: Message) -> None:
        seconds = (20 + dice.below(LONGEST_DELAY)) / 1000
        self._connection.call_later(seconds, self._sending(message))

    def _duplicate(self, dice: Dice, message: Message, _: Message) -> None:
        for _again in range(1 + dice.below(2)):
            self._send(message)

    def _reorder(self, _: Dice, message: Message, __: Message) -> None:
        """Say it after the job's next message."""
        self._held[message.job] = message
        self._connection.call_later(LONGEST_DELAY / 1000, self._letting_go(message))

    def _inject(self, dice: Dice, message: Message, _: Message) -> None:
        self._send(message, body=dice.draw(dice.below(600)))

    def _alter(self, dice: Dice, message: Message, _: Message) -> None:
        body = bytearray(message.body)
        body[dice.below(len(body))] ^= 1 << dice.below(8)
        self._send(message, body=bytes(body))

    def _truncate(self, dice: Dice, message: Message, _: Message) -> None:
        self._send(message, body=message.body[: dice.below(len(message.body))])

    def _redirect(self, dice: Dice, message: Message, _: Message) -> None:
        """Give it to somebody else, or say that somebody else sent it."""
        inbox = dice.pick(self._inboxes)
        key = f"jobs.{inbox.rpartition('.')[2]}" if message.is_up else inbox
        self._send(Message(message.is_up, key, message.properties, message.body))

    def _splice(self, dice: Dice, message: Message, past: Message) -> None:
        cut = 1 + dice.below(len(message.body) - 1)
        self._send(message, body=message.body[:cut] + past.body[cut:])

    def _replay(self, _: Dice, __: Message, past: Message) -> None:
        self._send(past)

    def _rename(self, dice: Dice, message: Message, _: Message) -> None:
        self._send(message, user=dice.pick(self._inboxes).rpartition(".")[2])

    def _sending(self, message: Message) -> Callable[[], None]:
        return lambda: self._send(message)

    def _letting_go(self, message: Message) -> Callable[[], None]:
        def let_go() -> None:
            if self._held.get(message.job) is message:
                self._send(self._held.pop(message.job))

        return let_go

    def _send(
        self, message: Message, *, body: bytes | None = None, user: str | None = None
    ) -> None:
        properties = message.properties
        if user is not None:
            properties = BasicProperties(**{**vars(properties), "user_id": user})
        self._channel.basic_publish(
            UP if message.is_up else DOWN,
            message.key,
            message.body if body is None else body,
            properties,
        )


_ACTS: Mapping[Attack, Callable[[MaliciousBroker, Dice, Message, Message], None]] = {
    Attack.DROP: MaliciousBroker._drop,
    Attack.DELAY: MaliciousBroker._delay,
    Attack.DUPLICATE: MaliciousBroker._duplicate,
    Attack.REORDER: MaliciousBroker._reorder,
    Attack.INJECT: MaliciousBroker._inject,
    Attack.ALTER: MaliciousBroker._alter,
    Attack.TRUNCATE: MaliciousBroker._truncate,
    Attack.REDIRECT: MaliciousBroker._redirect,
    Attack.SPLICE: MaliciousBroker._splice,
    Attack.REPLAY: MaliciousBroker._replay,
    Attack.RENAME: MaliciousBroker._rename,
}
