"""The topology as data."""

import re
from pathlib import Path

import pytest

from shared.errors import LocalProtocolError
from shared.names import Principal, Role, TokenId
from shared.topology import (
    BINDINGS,
    DEFAULT_REALM,
    EXCHANGES,
    MANAGER_PERMISSIONS,
    MANAGER_QUEUES,
    PARTICIPANTS_EXCHANGE,
    QUEUES,
    Binding,
    Queue,
    User,
    binding_of,
    broker_password_hash,
    definitions,
    enrolment_permissions,
    enrolment_queue,
    inbox,
    main,
    participant_permissions,
    render,
    routing_key,
)

SERVER = Principal("MPC_server_001")
CLIENT = Principal("Liberty001")
TOKEN = TokenId(bytes.fromhex("00112233445566ff"))
RENDERED = Path(__file__).resolve().parents[3] / "broker_config" / "definitions.json"


def arguments_of(queue: Queue) -> dict[str, str | int | bool]:
    """Return a queue's arguments by name."""
    return dict(queue.arguments)


def test_the_rendered_file_is_that_of_the_code() -> None:
    """Containers load the file; it must not drift from what the manager applies."""
    expected = render(DEFAULT_REALM)

    assert expected == RENDERED.read_text()


def test_the_command_prints_the_definitions_of_a_realm(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An operator of another realm renders his own file."""
    main(["hospital"])

    assert render("hospital") == capsys.readouterr().out


def test_the_command_prints_the_default_realm(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a name it is the file in the repository."""
    main([])

    assert render(DEFAULT_REALM) == capsys.readouterr().out


@pytest.mark.parametrize(
    "queue",
    [
        *QUEUES,
        inbox(SERVER, Role.MPCS),
        inbox(CLIENT, Role.CLIENT),
        enrolment_queue(TOKEN),
    ],
    ids=lambda queue: queue.name,
)
def test_every_queue_is_a_bounded_quorum_queue(queue: Queue) -> None:
    """RabbitMQ 3.10 knows no default type, and none may grow without an end."""
    arguments = arguments_of(queue)

    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-delivery-limit"] == 50
    assert isinstance(arguments["x-max-length"], int)
    assert isinstance(arguments["x-message-ttl"], int)
    assert arguments["x-overflow"] in {"reject-publish", "drop-head"}


@pytest.mark.parametrize("name", MANAGER_QUEUES)
def test_the_managers_queues_refuse_when_full(name: str) -> None:
    """The oldest message is never dropped in silence, and one manager reads."""
    [queue] = [queue for queue in QUEUES if queue.name == name]
    arguments = arguments_of(queue)

    assert arguments["x-overflow"] == "reject-publish"
    assert arguments["x-single-active-consumer"] is True
    assert arguments["x-dead-letter-exchange"] == "mpc.dead-letter"


def test_inboxes_are_named_for_role_and_principal() -> None:
    """The management UI shows whose backlog it is."""
    names = [inbox(SERVER, Role.MPCS).name, inbox(CLIENT, Role.CLIENT).name]

    assert names == ["mpcs.MPC_server_001", "client.Liberty001"]


def test_an_inbox_has_dead_letters_and_one_consumer() -> None:
    """A second process of the same identity must not steal messages."""
    arguments = arguments_of(inbox(CLIENT, Role.CLIENT))

    assert arguments["x-single-active-consumer"] is True
    assert arguments["x-dead-letter-exchange"] == "mpc.dead-letter"


def test_an_enrolment_queue_expires() -> None:
    """A token whose manager died leaves nothing behind for ever."""
    queue = enrolment_queue(TOKEN)

    assert queue.name == "enrol.00112233445566ff"
    assert arguments_of(queue)["x-expires"] == 25 * 60 * 60 * 1000


def test_an_inbox_is_bound_by_its_own_name() -> None:
    """The manager addresses a queue, nothing else."""
    name = "mpcs.MPC_server_001"

    assert binding_of(inbox(SERVER, Role.MPCS)) == Binding(
        PARTICIPANTS_EXCHANGE, name, name
    )


@pytest.mark.parametrize(
    ("message_type", "sender", "expected"),
    [
        ("reg.req", "enrol:00112233445566ff", "registration.00112233445566ff"),
        ("reg.done", "Liberty001", "authentication.Liberty001"),
        ("as.req", "Liberty001", "authentication.Liberty001"),
        ("status", "MPC_server_001", "jobs.MPC_server_001"),
        ("key.roll", "Liberty001", "jobs.Liberty001"),
        ("log.off", "Liberty001", "jobs.Liberty001"),
        ("job.request", "Liberty001", "jobs.Liberty001"),
        ("job.accept", "MPC_server_001", "jobs.MPC_server_001"),
        ("err", "MPC_server_001", "jobs.MPC_server_001"),
    ],
)
def test_a_message_goes_to_the_queue_of_its_kind(
    message_type: str, sender: str, expected: str
) -> None:
    """A flood of one kind cannot starve another."""
    key = routing_key(message_type, sender)

    assert expected == key


@pytest.mark.parametrize("message_type", ["reg.done", "as.req", "job.request"])
def test_a_participant_may_use_its_own_keys_only(message_type: str) -> None:
    """What it must send is allowed, and the same of a longer name is not."""
    topic = participant_permissions(CLIENT, Role.CLIENT).topic_write or ""

    assert re.search(topic, routing_key(message_type, CLIENT))
    assert not re.search(topic, routing_key(message_type, f"{CLIENT}0"))
    assert not re.search(topic, routing_key(message_type, f"x{CLIENT}"))


def test_a_participant_declares_nothing_and_reads_its_inbox() -> None:
    """Limits on load; no security claim rests on them."""
    permissions = participant_permissions(SERVER, Role.MPCS)

    assert permissions.configure == "^$"
    assert re.search(permissions.write, "mpc.manager")
    assert not re.search(permissions.write, "mpc.participants")
    assert not re.search(permissions.write, "mpcXmanager")
    assert re.search(permissions.read, "mpcs.MPC_server_001")
    assert not re.search(permissions.read, "mpcs.MPC_server_0010")
    assert not re.search(permissions.read, "manager.jobs")


def test_a_token_holder_may_register_and_nothing_else() -> None:
    """Its key is the token's, its queue too."""
    permissions = enrolment_permissions(TOKEN)
    topic = permissions.topic_write or ""

    assert permissions.configure == "^$"
    assert re.search(topic, "registration.00112233445566ff")
    assert not re.search(topic, "registration.0011223344556600")
    assert not re.search(topic, "authentication.00112233445566ff")
    assert re.search(permissions.read, "enrol.00112233445566ff")


def test_the_manager_reads_its_queues_and_writes_to_participants() -> None:
    """The running manager cannot declare: its administrator does."""
    reads = [
        queue.name
        for queue in QUEUES
        if re.search(MANAGER_PERMISSIONS.read, queue.name)
    ]

    assert reads == [queue.name for queue in QUEUES]
    assert MANAGER_PERMISSIONS.configure == "^$"
    assert not re.search(MANAGER_PERMISSIONS.read, "client.Liberty001")
    assert re.search(MANAGER_PERMISSIONS.write, PARTICIPANTS_EXCHANGE)


def test_every_binding_joins_what_exists() -> None:
    """Definitions that name what is not there fail at the start of the broker."""
    exchanges = {exchange.name for exchange in EXCHANGES}
    queues = {queue.name for queue in QUEUES}

    assert {binding.exchange for binding in BINDINGS} <= exchanges
    assert {binding.queue for binding in BINDINGS} == queues


def test_the_password_hash_is_rabbitmqs() -> None:
    """The vector of RabbitMQ's own documentation ("test12", salt 908DC60A)."""
    salt = bytes.fromhex("908DC60A")

    assert (
        broker_password_hash("test12", salt)
        == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    )


def test_a_salt_of_another_length_is_refused() -> None:
    """The broker would take it for a part of the digest."""
    with pytest.raises(LocalProtocolError):
        broker_password_hash("test12", b"short")


def test_definitions_hold_users_with_their_permissions() -> None:
    """A private node loads them; topic permissions only where they limit."""
    users = [
        User("a", "hash-a", participant_permissions(CLIENT, Role.CLIENT)),
        User("b", "hash-b", MANAGER_PERMISSIONS, ("administrator", "monitoring")),
    ]
    rendered = definitions("realm", users)

    assert rendered["vhosts"] == [{"name": "realm"}]
    assert rendered["users"] == [
        {
            "name": "a",
            "password_hash": "hash-a",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "",
        },
        {
            "name": "b",
            "password_hash": "hash-b",
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "administrator,monitoring",
        },
    ]
    assert rendered["topic_permissions"] == [
        {
            "user": "a",
            "vhost": "realm",
            "exchange": "mpc.manager",
            "write": r"^(authentication|jobs)\.Liberty001$",
            "read": "^$",
        }
    ]
