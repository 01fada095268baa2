"""``broker check`` and the user who watches, at a real broker."""

import json
import secrets
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pika
import pytest
from click.testing import CliRunner

from manager.broker.access import BrokerAccess
from manager.broker.api import ManagementApi
from manager.broker.credentials import load_or_create_monitor, monitor_user
from manager.broker.health import Limits, judge
from manager.broker.node import PrivateNode
from manager.cli.broker import broker as broker_group
from manager.config import load_settings
from shared.errors import ConfigError, TransportError
from shared.names import Principal, Realm, Role
from shared.topology import (
    DEAD_LETTER,
    MANAGER_QUEUES,
    QUEUE_JOBS,
    UNROUTABLE,
    broker_password_hash,
    inbox,
)
from tests.integration.realm_fixture import until

pytestmark = pytest.mark.broker

REALM = Realm("checked")
SERVER = Principal("MPC_server_001")
INBOX = inbox(SERVER, Role.MPCS).name


def open_connection(access: BrokerAccess) -> pika.BlockingConnection:
    """Connect as the administrator, who may use any queue."""
    parts = urlsplit(access.amqp_url)
    tls = access.tls()
    assert tls is not None
    user = access.credentials.admin
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            parts.hostname or "",
            parts.port or 0,
            access.vhost,
            pika.PlainCredentials(user.user, user.password),
            ssl_options=pika.SSLOptions(tls, parts.hostname),
        )
    )


def connections(api: ManagementApi) -> list[str]:
    """Return the names of all connections."""
    answer = api.get("connections")
    return [entry["name"] for entry in answer] if isinstance(answer, list) else []


def is_refused(attempt: Callable[[], object]) -> bool:
    """Say whether the broker refuses something."""
    try:
        attempt()
    except TransportError:
        return True
    return False


def test_a_check_sees_readers_letters_and_a_standstill(broker: BrokerAccess) -> None:
    """A vhost without a manager; then with readers of all queues but an inbox."""
    access = replace(broker, vhost=REALM)
    limits = Limits(dead_letters=0, standstill=timedelta(seconds=1))
    with access.admin() as admin, ExitStack() as stack:
        admin.apply([access.credentials.manager_user()])
        connection = stack.enter_context(closing(open_connection(access)))
        admin.create_participant(
            SERVER, Role.MPCS, broker_password_hash("x", secrets.token_bytes(4))
        )
        bare = judge(admin.snapshot(limits.standstill), [], limits)
        channel = connection.channel()
        channel.basic_qos(prefetch_count=1)
        for name in MANAGER_QUEUES:
            channel.basic_consume(name, lambda *_: None)
        for name in (QUEUE_JOBS, DEAD_LETTER, UNROUTABLE):
            channel.basic_publish("", name, b"x")

        def wrong() -> set[tuple[str, str]]:
            connection.process_data_events(0.1)
            found = judge(admin.snapshot(limits.standstill), [INBOX], limits)
            return {(each.check, each.subject) for each in found if not each.is_well}

        expected = {
            ("reader", INBOX),
            ("dead letters", DEAD_LETTER),
            ("dead letters", UNROUTABLE),
            ("standstill", QUEUE_JOBS),
        }
        until(lambda: wrong() == expected, f"exactly {expected}")
        admin.delete_participant(SERVER, Role.MPCS)

    unread = {each.subject for each in bare if each.check == "reader"}

    assert unread == set(MANAGER_QUEUES)


def test_who_watches_sees_everything_and_touches_nothing(
    node: PrivateNode, broker: BrokerAccess, tmp_path: Path
) -> None:
    """Connections, queues and rates; no message, no change, not even of a connection."""
    status = node.status()
    assert status is not None
    watching = load_or_create_monitor(tmp_path)
    with broker.admin() as admin, closing(open_connection(broker)) as connection:
        admin.apply([monitor_user(watching)])
        channel = connection.channel()
        channel.basic_publish("", DEAD_LETTER, b"x")
        api = ManagementApi(status.management_url, watching)
        with closing(api):
            shown = until(lambda: connections(api), "a connection is shown")
            seen = {
                path: bool(api.get(*path))
                for path in (
                    ("overview",),
                    ("nodes",),
                    ("connections",),
                    ("queues", broker.vhost),
                    ("queues", broker.vhost, DEAD_LETTER),
                    ("exchanges", broker.vhost),
                )
            }
            take = {
                "count": 1,
                "ackmode": "ack_requeue_true",
                "encoding": "auto",
            }
            message = {
                "properties": {},
                "routing_key": "jobs.x",
                "payload": "x",
                "payload_encoding": "string",
            }
            attempts: tuple[Callable[[], object], ...] = (
                lambda: api.post("queues", broker.vhost, DEAD_LETTER, "get", body=take),
                lambda: api.post(
                    "exchanges", broker.vhost, "mpc.manager", "publish", body=message
                ),
                lambda: api.delete("queues", broker.vhost, DEAD_LETTER),
                lambda: api.delete("queues", broker.vhost, DEAD_LETTER, "contents"),
                lambda: api.put("queues", broker.vhost, "mine", body={}),
                lambda: api.put("users", "mine", body={"password": "x", "tags": ""}),
                lambda: api.delete("connections", shown[0]),
                lambda: api.get("users"),
                lambda: api.get("definitions"),
            )
            refused = [is_refused(attempt) for attempt in attempts]
        connection.process_data_events()
        channel.queue_purge(DEAD_LETTER)

    assert all(seen.values())
    assert refused == [True] * 9


def test_a_check_says_when_it_cannot_look(tmp_path: Path) -> None:
    """No realm is a matter of settings; a limit must make sense."""
    settings = load_settings({"home": tmp_path})
    results = {
        name: CliRunner().invoke(broker_group, ["check", *options], obj=settings)
        for name, options in (
            ("no realm", ()),
            ("too long", ("--standstill", "11m")),
            ("nothing", ("--standstill", "0s")),
            ("no unit", ("--standstill", "60")),
        )
    }

    assert all(isinstance(r.exception, ConfigError) for r in results.values())
    assert json.dumps([str(r.exception) for r in results.values()]).count("11m") == 1
