"""What exists at the broker and who may do what there, as data.

The one place that names exchanges, queues, bindings and permissions: the
manager applies it over the management API, a private node loads it at its
start, and ``broker_config/definitions.json`` is rendered from it::

    python -m shared.topology [REALM] > broker_config/definitions.json

Everything here works on RabbitMQ 3.10 and 4.x, so ``x-queue-type`` is always
said. Source: docs/protocol.md, sections 1.2, 1.3 and 3.5.
"""

import base64
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum, unique
from typing import TypeAlias

from shared.errors import LocalProtocolError
from shared.names import ENROL_PREFIX, Principal, Realm, Role, TokenId, check_realm

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json]"
"""What a definitions file is made of."""

DEFAULT_REALM = Realm("mpc")
"""The realm of the file in the repository."""

MANAGER_EXCHANGE = "mpc.manager"
"""Participants publish here, and nowhere else."""
PARTICIPANTS_EXCHANGE = "mpc.participants"
"""The manager publishes here; the routing key is the name of the queue."""
UNROUTABLE = "mpc.unroutable"
"""Exchange and queue of what a participant sent that no queue wanted."""
DEAD_LETTER = "mpc.dead-letter"
"""Exchange and queue of what expired or was given up."""

QUEUE_REGISTRATION = "manager.registration"
QUEUE_AUTHENTICATION = "manager.authentication"
QUEUE_JOBS = "manager.jobs"
MANAGER_QUEUES = (QUEUE_REGISTRATION, QUEUE_AUTHENTICATION, QUEUE_JOBS)

MANAGER_USER = "manager"
"""The broker user of every running manager of the realm."""
ADMIN_USER = "manager-admin"
"""The broker user that makes users and queues, over the management API only."""
MONITOR_USER = "manager-monitor"
"""The broker user of people who watch, in the management UI only."""

DELIVERY_LIMIT = 50
"""Returns of one message to its queue before it is a dead letter; a plain
disconnect counts too."""
MANAGER_QUEUE_LENGTH = 100_000
"""Messages waiting for the manager, of one kind; more are refused."""
INBOX_LENGTH = 10_000
"""Messages waiting for one participant; more are refused."""
ENROLMENT_LENGTH = 100
"""Messages waiting for somebody who enrols."""
LETTER_LENGTH = 10_000
"""Dead letters and unroutable messages kept; the oldest go first."""
MESSAGE_TTL = timedelta(hours=24)
"""The longest a message waits; most say a shorter time themselves."""
LETTER_TTL = timedelta(days=7)
ENROLMENT_EXPIRY = timedelta(hours=25)
"""An unused enrolment queue vanishes: a token lives at most 24 h."""

_MILLISECOND = timedelta(milliseconds=1)
_NOTHING = "^$"


@unique
class ExchangeType(StrEnum):
    """The kinds of exchange that we use."""

    TOPIC = "topic"
    DIRECT = "direct"
    FANOUT = "fanout"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: ExchangeType
    arguments: tuple[tuple[str, str | int | bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue; ``arguments`` are the AMQP ones, name and value."""

    name: str
    arguments: tuple[tuple[str, str | int | bool], ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """What makes an exchange put messages into a queue."""

    exchange: str
    queue: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a user may do: regular expressions over the names of objects.

    Attributes:
        topic_write: over the routing keys that may be published to
            ``MANAGER_EXCHANGE``; ``None`` where no topic permission is needed.
    """

    configure: str
    write: str
    read: str
    topic_write: str | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A broker user of the definitions.

    Attributes:
        password_hash: as ``broker_password_hash`` returns it.
        tags: RabbitMQ's own, such as ``administrator``.
    """

    name: str
    password_hash: str
    permissions: Permissions
    tags: tuple[str, ...] = ()


def broker_password_hash(password: str, salt: bytes) -> str:
    """Return RabbitMQ's salted SHA-256 of a password, in base64.

    Args:
        password: a long random one; this hash does not protect a short one.
        salt: 4 random bytes.

    Raises:
        LocalProtocolError: the salt has another length.
    """
    if len(salt) != 4:  # noqa: PLR2004 - RabbitMQ's own, named in the docstring
        raise LocalProtocolError("a broker password takes a salt of 4 bytes")
    digest = hashlib.sha256(salt + password.encode()).digest()
    return base64.b64encode(salt + digest).decode()


def _quorum(
    length: int,
    ttl: timedelta,
    *,
    drops_oldest: bool = False,
    single_consumer: bool = True,
    has_dead_letters: bool = True,
) -> tuple[tuple[str, str | int | bool], ...]:
    arguments: dict[str, str | int | bool] = {
        "x-queue-type": "quorum",
        "x-max-length": length,
        "x-overflow": "drop-head" if drops_oldest else "reject-publish",
        "x-message-ttl": ttl // _MILLISECOND,
        "x-delivery-limit": DELIVERY_LIMIT,
    }
    if single_consumer:
        arguments["x-single-active-consumer"] = True
    if has_dead_letters:
        arguments["x-dead-letter-exchange"] = DEAD_LETTER
    return tuple(sorted(arguments.items()))


EXCHANGES = (
    Exchange(
        MANAGER_EXCHANGE, ExchangeType.TOPIC, (("alternate-exchange", UNROUTABLE),)
    ),
    Exchange(PARTICIPANTS_EXCHANGE, ExchangeType.DIRECT),
    Exchange(DEAD_LETTER, ExchangeType.FANOUT),
    Exchange(UNROUTABLE, ExchangeType.FANOUT),
)
_LETTERS = _quorum(
    LETTER_LENGTH,
    LETTER_TTL,
    drops_oldest=True,
    single_consumer=False,
    has_dead_letters=False,
)
QUEUES = (
    *(
        Queue(name, _quorum(MANAGER_QUEUE_LENGTH, MESSAGE_TTL))
        for name in MANAGER_QUEUES
    ),
    Queue(DEAD_LETTER, _LETTERS),
    Queue(UNROUTABLE, _LETTERS),
)
BINDINGS = (
    Binding(MANAGER_EXCHANGE, QUEUE_REGISTRATION, "registration.*"),
    Binding(MANAGER_EXCHANGE, QUEUE_AUTHENTICATION, "authentication.*"),
    Binding(MANAGER_EXCHANGE, QUEUE_JOBS, "jobs.*"),
    Binding(DEAD_LETTER, DEAD_LETTER, ""),
    Binding(UNROUTABLE, UNROUTABLE, ""),
)

MANAGER_PERMISSIONS = Permissions(
    configure=_NOTHING,
    write=f"^{re.escape(PARTICIPANTS_EXCHANGE)}$",
    read=r"^(manager\.(registration|authentication|jobs)|mpc\.(dead-letter|unroutable))$",
)
ADMIN_PERMISSIONS = Permissions(configure=".*", write=".*", read=".*")
MONITOR_PERMISSIONS = Permissions(configure=_NOTHING, write=_NOTHING, read=_NOTHING)
"""The UI shows it every queue of the vhost; it can take no message from one."""


def inbox(principal: Principal, role: Role) -> Queue:
    """Return the one queue that a participant reads."""
    return Queue(f"{role}.{principal}", _quorum(INBOX_LENGTH, MESSAGE_TTL))


def enrolment_user(token_id: TokenId) -> str:
    """Return the name of the temporary broker user of a token."""
    return f"enrol-{token_id.hex()}"


def enrolment_queue(token_id: TokenId) -> Queue:
    """Return the queue that the holder of a token reads until it has a name."""
    arguments = _quorum(ENROLMENT_LENGTH, MESSAGE_TTL, has_dead_letters=False)
    expiry = ("x-expires", ENROLMENT_EXPIRY // _MILLISECOND)
    return Queue(f"enrol.{token_id.hex()}", tuple(sorted((*arguments, expiry))))


def binding_of(queue: Queue) -> Binding:
    """Return the binding of an inbox or enrolment queue: its own name."""
    return Binding(PARTICIPANTS_EXCHANGE, queue.name, queue.name)


def routing_key(message_type: str, sender: str) -> str:
    """Return the key under which a participant publishes a message.

    A registration comes from a token (``enrol:<hex>``). ``reg.done`` already
    comes from the new principal, whose permissions name no registration key.

    Args:
        message_type: the wire name, such as ``job.accept``.
        sender: the envelope's sender: a principal, or ``enrol:<hex token id>``.
    """
    if sender.startswith(ENROL_PREFIX):
        return f"registration.{sender.removeprefix(ENROL_PREFIX)}"
    if message_type.startswith(("as.", "reg.")):
        return f"authentication.{sender}"
    return f"jobs.{sender}"


def participant_permissions(principal: Principal, role: Role) -> Permissions:
    """Return what a registered participant may do at the broker.

    It may declare nothing, publish under its own keys and read its own inbox.
    """
    return Permissions(
        configure=_NOTHING,
        write=f"^{re.escape(MANAGER_EXCHANGE)}$",
        read=f"^{re.escape(inbox(principal, role).name)}$",
        topic_write=rf"^(authentication|jobs)\.{re.escape(principal)}$",
    )


def enrolment_permissions(token_id: TokenId) -> Permissions:
    """Return what the holder of a token may do at the broker until it has a name."""
    return Permissions(
        configure=_NOTHING,
        write=f"^{re.escape(MANAGER_EXCHANGE)}$",
        read=f"^{re.escape(enrolment_queue(token_id).name)}$",
        topic_write=rf"^registration\.{token_id.hex()}$",
    )


def definitions(vhost: str, users: Sequence[User]) -> dict[str, Json]:
    """Render the topology as RabbitMQ's definitions, for ``load_definitions``.

    The broker is called as the realm is: the management UI shows it on every page.

    Args:
        vhost: the realm's name.
        users: with their password hashes; none for a file that is published.
    """
    return {
        "global_parameters": [{"name": "cluster_name", "value": vhost}],
        "vhosts": [{"name": vhost}],
        "users": [
            {
                "name": user.name,
                "password_hash": user.password_hash,
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": ",".join(user.tags),
            }
            for user in users
        ],
        "permissions": [
            {
                "user": user.name,
                "vhost": vhost,
                "configure": user.permissions.configure,
                "write": user.permissions.write,
                "read": user.permissions.read,
            }
            for user in users
        ],
        "topic_permissions": [
            {
                "user": user.name,
                "vhost": vhost,
                "exchange": MANAGER_EXCHANGE,
                "write": user.permissions.topic_write,
                "read": _NOTHING,
            }
            for user in users
            if user.permissions.topic_write is not None
        ],
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.type.value,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": dict(exchange.arguments),
            }
            for exchange in EXCHANGES
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": dict(queue.arguments),
            }
            for queue in QUEUES
        ],
        "bindings": [
            {
                "source": binding.exchange,
                "vhost": vhost,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.routing_key,
                "arguments": {},
            }
            for binding in BINDINGS
        ],
    }


def render(vhost: str, users: Sequence[User] = ()) -> str:
    """Return ``definitions`` as the text of a file."""
    return json.dumps(definitions(vhost, users), indent=2) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Print the definitions of a realm, without users."""
    realm = check_realm(arguments[0]) if arguments else DEFAULT_REALM
    sys.stdout.write(render(realm))


if __name__ == "__main__":
    main(sys.argv[1:])
