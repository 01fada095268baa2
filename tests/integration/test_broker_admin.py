"""What users may do at a real broker, and that the administrator makes it so."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelClosedByBroker,
    NackError,
    ProbableAccessDeniedError,
    UnroutableError,
)

from manager.broker.access import BrokerAccess
from manager.broker.admin import BrokerAdmin
from manager.broker.credentials import Credential
from shared.errors import ConfigError, TransportError
from shared.names import Principal, Role, TokenId
from shared.topology import (
    ENROLMENT_LENGTH,
    MANAGER_EXCHANGE,
    MANAGER_QUEUES,
    PARTICIPANTS_EXCHANGE,
    QUEUE_JOBS,
    QUEUE_REGISTRATION,
    User,
    broker_password_hash,
    enrolment_queue,
    enrolment_user,
    inbox,
    participant_permissions,
)

pytestmark = pytest.mark.broker

SERVER = Principal("MPC_server_001")
CLIENT = Principal("Liberty001")
TOKEN = TokenId(bytes.fromhex("a1b2c3d4e5f60718"))
PASSWORD = "of the test only"
FORBIDDEN = 403
PRECONDITION_FAILED = 406

Open = Callable[[str, str], BlockingChannel]
Action = Callable[[BlockingChannel], object]


def password_hash(password: str) -> str:
    """Return RabbitMQ's hash with a random salt."""
    return broker_password_hash(password, secrets.token_bytes(4))


@pytest.fixture
def connect(broker: BrokerAccess) -> Iterator[Open]:
    """Open a channel with confirms as a user; all connections are closed at the end."""
    parts = urlsplit(broker.amqp_url)
    tls = broker.tls()
    assert tls is not None
    connections: list[BlockingConnection] = []

    def open_channel(user: str, password: str) -> BlockingChannel:
        connection = BlockingConnection(
            pika.ConnectionParameters(
                parts.hostname or "",
                parts.port or 0,
                broker.vhost,
                pika.PlainCredentials(user, password),
                connection_attempts=1,
                ssl_options=pika.SSLOptions(tls, parts.hostname),
            )
        )
        connections.append(connection)
        channel = connection.channel()
        channel.confirm_delivery()
        return channel

    yield open_channel
    for connection in connections:
        with suppress(AMQPError):
            connection.close()


@pytest.fixture
def parties(admin: BrokerAdmin) -> Iterator[None]:
    """One server, one client and one token holder exist."""
    admin.create_participant(SERVER, Role.MPCS, password_hash(PASSWORD))
    admin.create_participant(CLIENT, Role.CLIENT, password_hash(PASSWORD))
    admin.create_enrolment(TOKEN, password_hash(PASSWORD))
    yield
    admin.delete_participant(SERVER, Role.MPCS)
    admin.delete_participant(CLIENT, Role.CLIENT)
    admin.delete_enrolment(TOKEN)


def publish(
    channel: BlockingChannel, exchange: str, key: str, user_id: str | None = None
) -> None:
    """Publish one mandatory message and wait for its confirm."""
    channel.basic_publish(
        exchange,
        key,
        b"body",
        pika.BasicProperties(user_id=user_id, delivery_mode=2),
        mandatory=True,
    )


def take(channel: BlockingChannel, queue: str) -> bytes:
    """Take one message as a consumer does, and acknowledge it."""
    for method, _, body in channel.consume(queue, inactivity_timeout=10):
        if method is None or body is None or method.delivery_tag is None:
            raise AssertionError("no message came in 10 s")
        channel.basic_ack(method.delivery_tag)
        channel.cancel()
        return body
    raise AssertionError("the queue was deleted")


@pytest.mark.usefixtures("parties")
def test_a_participant_and_the_manager_reach_each_other(
    broker: BrokerAccess, connect: Open
) -> None:
    """The way of every message: own key up, inbox down."""
    manager = broker.credentials.manager
    below = connect(SERVER, PASSWORD)
    above = connect(manager.user, manager.password)
    publish(below, MANAGER_EXCHANGE, f"jobs.{SERVER}", SERVER)
    publish(above, PARTICIPANTS_EXCHANGE, f"mpcs.{SERVER}", manager.user)

    assert take(above, QUEUE_JOBS) == b"body"
    assert take(below, f"mpcs.{SERVER}") == b"body"


@pytest.mark.usefixtures("parties")
def test_a_token_holder_and_the_manager_reach_each_other(
    broker: BrokerAccess, connect: Open
) -> None:
    """Registration, before there is a principal."""
    manager = broker.credentials.manager
    holder = connect(enrolment_user(TOKEN), PASSWORD)
    above = connect(manager.user, manager.password)
    publish(holder, MANAGER_EXCHANGE, f"registration.{TOKEN.hex()}")
    publish(above, PARTICIPANTS_EXCHANGE, enrolment_queue(TOKEN).name)

    assert take(above, QUEUE_REGISTRATION) == b"body"
    assert take(holder, enrolment_queue(TOKEN).name) == b"body"


REFUSED: dict[str, tuple[str, Action]] = {
    "a foreign key": (
        CLIENT,
        lambda channel: publish(channel, MANAGER_EXCHANGE, f"jobs.{SERVER}"),
    ),
    "a longer key": (
        CLIENT,
        lambda channel: publish(channel, MANAGER_EXCHANGE, f"jobs.{CLIENT}.x"),
    ),
    "a registration as a participant": (
        CLIENT,
        lambda channel: publish(channel, MANAGER_EXCHANGE, f"registration.{CLIENT}"),
    ),
    "the exchange of the manager": (
        CLIENT,
        lambda channel: publish(channel, PARTICIPANTS_EXCHANGE, f"mpcs.{SERVER}"),
    ),
    "the default exchange": (
        CLIENT,
        lambda channel: publish(channel, "", f"mpcs.{SERVER}"),
    ),
    "a foreign inbox": (
        CLIENT,
        lambda channel: channel.basic_consume(f"mpcs.{SERVER}", lambda *_: None),
    ),
    "a manager's queue": (
        CLIENT,
        lambda channel: channel.basic_consume(QUEUE_JOBS, lambda *_: None),
    ),
    "a new queue": (CLIENT, lambda channel: channel.queue_declare("mine")),
    "a new exchange": (CLIENT, lambda channel: channel.exchange_declare("mine")),
    "a binding of its inbox": (
        CLIENT,
        lambda channel: channel.queue_bind(
            f"client.{CLIENT}", PARTICIPANTS_EXCHANGE, f"mpcs.{SERVER}"
        ),
    ),
    "deleting its inbox": (
        CLIENT,
        lambda channel: channel.queue_delete(f"client.{CLIENT}"),
    ),
    "another token's key": (
        enrolment_user(TOKEN),
        lambda channel: publish(channel, MANAGER_EXCHANGE, "registration.00"),
    ),
    "authentication with a token": (
        enrolment_user(TOKEN),
        lambda channel: publish(channel, MANAGER_EXCHANGE, f"authentication.{CLIENT}"),
    ),
    "an inbox with a token": (
        enrolment_user(TOKEN),
        lambda channel: channel.basic_consume(f"client.{CLIENT}", lambda *_: None),
    ),
}


@pytest.mark.usefixtures("parties")
@pytest.mark.parametrize("case", REFUSED)
def test_a_participant_is_refused(case: str, connect: Open) -> None:
    """The broker itself limits what a stolen broker password can flood."""
    user, action = REFUSED[case]
    channel = connect(user, PASSWORD)
    with pytest.raises(ChannelClosedByBroker) as caught:
        action(channel)

    assert caught.value.reply_code == FORBIDDEN


@pytest.mark.usefixtures("parties")
def test_a_false_user_id_is_refused(connect: Open) -> None:
    """The manager compares it with the signed sender, so it must be true."""
    channel = connect(CLIENT, PASSWORD)
    with pytest.raises(ChannelClosedByBroker) as caught:
        publish(channel, MANAGER_EXCHANGE, f"jobs.{CLIENT}", SERVER)

    assert caught.value.reply_code == PRECONDITION_FAILED


def test_the_manager_declares_nothing(broker: BrokerAccess, connect: Open) -> None:
    """The running manager's own AMQP user has no more than it needs."""
    manager = broker.credentials.manager
    channel = connect(manager.user, manager.password)
    with pytest.raises(ChannelClosedByBroker) as caught:
        channel.queue_declare("mine")

    assert caught.value.reply_code == FORBIDDEN


@pytest.mark.usefixtures("parties")
def test_a_message_to_nobody_comes_back(broker: BrokerAccess, connect: Open) -> None:
    """A confirm alone would hide that the party does not exist."""
    manager = broker.credentials.manager
    channel = connect(manager.user, manager.password)
    with pytest.raises(UnroutableError):
        publish(channel, PARTICIPANTS_EXCHANGE, "mpcs.MPC_server_999")


def test_a_removed_participant_is_out_at_once(
    admin: BrokerAdmin, connect: Open
) -> None:
    """Revocation closes the open connection and the door."""
    admin.create_participant(CLIENT, Role.CLIENT, password_hash(PASSWORD))
    channel = connect(CLIENT, PASSWORD)
    admin.delete_participant(CLIENT, Role.CLIENT)
    with pytest.raises(AMQPError):
        channel.connection.process_data_events(10)
    with pytest.raises((ProbableAccessDeniedError, AMQPConnectionError)):
        connect(CLIENT, PASSWORD)
    left = {count.name for count in admin.queue_counts()}

    assert inbox(CLIENT, Role.CLIENT).name not in left


def test_a_managers_connections_are_closed_and_nobody_elses(
    admin: BrokerAdmin, broker: BrokerAccess, connect: Open
) -> None:
    """One made a moment ago too; what it took and did not acknowledge comes again."""
    manager = broker.credentials.manager
    admin.create_participant(CLIENT, Role.CLIENT, password_hash(PASSWORD))
    below = connect(CLIENT, PASSWORD)
    former = connect(manager.user, manager.password)
    publish(below, MANAGER_EXCHANGE, f"jobs.{CLIENT}", CLIENT)
    method, _, _ = next(former.consume(QUEUE_JOBS, inactivity_timeout=10))
    other = replace(broker, vhost=type(broker.vhost)("other"))
    with other.admin() as elsewhere:
        elsewhere.apply()
        elsewhere.disconnect(manager.user)
    former.connection.process_data_events(0)
    is_open = former.is_open
    admin.disconnect(manager.user)
    admin.disconnect(manager.user)
    with pytest.raises(AMQPError):
        former.connection.process_data_events(10)
    again = take(connect(manager.user, manager.password), QUEUE_JOBS)
    below.connection.process_data_events(0)
    admin.delete_participant(CLIENT, Role.CLIENT)

    assert method is not None
    assert is_open
    assert again == b"body"


def test_everything_may_be_made_and_removed_twice(
    admin: BrokerAdmin, broker: BrokerAccess
) -> None:
    """A crash between two steps is repaired by calling again."""
    for _ in range(2):
        admin.apply([broker.credentials.manager_user()])
        admin.create_participant(CLIENT, Role.CLIENT, password_hash(PASSWORD))
        admin.create_enrolment(TOKEN, password_hash(PASSWORD))
    made = {count.name for count in admin.queue_counts()}
    for _ in range(2):
        admin.delete_participant(CLIENT, Role.CLIENT)
        admin.delete_enrolment(TOKEN)
    left = {count.name for count in admin.queue_counts()}

    assert {inbox(CLIENT, Role.CLIENT).name, enrolment_queue(TOKEN).name} == made - left
    assert set(MANAGER_QUEUES) <= left


def test_a_realm_is_made_on_a_bare_broker(broker: BrokerAccess) -> None:
    """``apply`` alone makes a vhost that a manager can work in."""
    bare = replace(broker, vhost=type(broker.vhost)("bare"))
    with bare.admin() as admin:
        admin.apply([broker.credentials.manager_user()])
        admin.create_participant(CLIENT, Role.CLIENT, password_hash(PASSWORD))
        names = [count.name for count in admin.queue_counts()]
        admin.delete_participant(CLIENT, Role.CLIENT)

    assert names == sorted(
        [
            "client.Liberty001",
            *MANAGER_QUEUES,
            "mpc.dead-letter",
            "mpc.unroutable",
        ]
    )


def test_the_overview_names_version_and_node(
    admin: BrokerAdmin,
) -> None:
    """What ``doctor`` and ``status`` show."""
    overview = admin.overview()

    assert int(overview.rabbitmq_version.split(".")[0]) >= 3
    assert overview.node.endswith("@localhost")


def test_a_wrong_administrator_is_refused(broker: BrokerAccess) -> None:
    """The message says who is not let in; the password is in no text."""
    wrong = BrokerAdmin(
        broker.management_url,
        Credential("manager-admin", "wrong"),
        broker.vhost,
        context=broker.tls(),
    )
    with wrong, pytest.raises(TransportError, match="does not let") as caught:
        wrong.overview()

    assert "wrong" not in str(caught.value)


def test_a_broker_that_is_not_there_is_unreachable(broker: BrokerAccess) -> None:
    """Named with its url, with a hint."""
    absent = BrokerAdmin("http://127.0.0.1:9", broker.credentials.admin, broker.vhost)
    with absent, pytest.raises(TransportError, match="cannot reach") as caught:
        absent.overview()

    assert caught.value.hint


def test_a_queue_that_differs_is_reported(admin: BrokerAdmin, connect: Open) -> None:
    """An older topology is not taken for ours in silence."""
    user = User(
        "older",
        password_hash(PASSWORD),
        replace(participant_permissions(CLIENT, Role.CLIENT), configure=".*"),
    )
    admin.apply([user])
    connect("older", PASSWORD).queue_declare(inbox(CLIENT, Role.CLIENT).name)
    try:
        with pytest.raises(TransportError, match="inequivalent arg"):
            admin.create_participant(CLIENT, Role.CLIENT, password_hash(PASSWORD))
    finally:
        admin.delete_participant(CLIENT, Role.CLIENT)
        admin.delete_participant(Principal("older"), Role.CLIENT)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://127.0.0.1",
        "http://",
        "http://user:secret@127.0.0.1:15672",
        "http://127.0.0.1:port",
    ],
)
def test_a_malformed_url_is_refused(url: str, broker: BrokerAccess) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError):
        BrokerAdmin(url, broker.credentials.admin, broker.vhost)


def test_an_enrolment_queue_that_is_full_refuses(
    admin: BrokerAdmin, broker: BrokerAccess, connect: Open
) -> None:
    """The publisher learns of it; no message vanishes."""
    admin.create_enrolment(TOKEN, password_hash(PASSWORD))
    manager = broker.credentials.manager
    channel = connect(manager.user, manager.password)

    def fill() -> None:
        for _ in range(2 * ENROLMENT_LENGTH):
            publish(channel, PARTICIPANTS_EXCHANGE, enrolment_queue(TOKEN).name)

    try:
        with pytest.raises(NackError):
            fill()
    finally:
        admin.delete_enrolment(TOKEN)
