"""A real RabbitMQ and a real PostgreSQL for the integration tests of a session."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.broker.access import BrokerAccess
from manager.broker.admin import BrokerAdmin
from manager.broker.node import PrivateNode
from shared.names import Realm
from tests.integration.realm_fixture import REALM as LIVE
from tests.integration.realm_fixture import (
    LiveRealm,
    parties,
    until,
    visitor,
)
from tests.integration.recording import Recorder
from tests.postgres import PostgresCluster, programs

REALM = Realm("test")


@pytest.fixture(scope="session")
def node() -> Iterator[PrivateNode]:
    """A private node that runs; its folder has a short path, as sockets need."""
    with tempfile.TemporaryDirectory(prefix="mpc-") as folder:
        node = PrivateNode(Path(folder) / "broker", REALM)
        try:
            node.start()
            yield node
        finally:
            node.stop()


@pytest.fixture(scope="session")
def broker(node: PrivateNode) -> BrokerAccess:
    """Where the node listens, and both of the manager's users there."""
    status = node.status()
    if status is None:
        raise AssertionError("the node was started")
    return BrokerAccess(
        status.amqp_url,
        status.administration_url,
        node.credentials(),
        REALM,
        node.credentials_path.parent,
        status.authority_path.read_text(),
    )


@pytest.fixture
def admin(broker: BrokerAccess) -> Iterator[BrokerAdmin]:
    """The node's administrator."""
    with broker.admin() as admin:
        yield admin


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A private PostgreSQL that runs."""
    found = programs()
    if found is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql, as `make` would")
    with tempfile.TemporaryDirectory(prefix="mpc-") as folder:
        cluster = PostgresCluster(Path(folder), found)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def recorder() -> Iterator[Recorder]:
    """Everything on the loopback interface, if this user may see it."""
    with tempfile.TemporaryDirectory(prefix="mpc-") as folder:
        recorder = Recorder(Path(folder) / "loopback")
        try:
            yield recorder
        finally:
            recorder.stop()
            if recorder.relay is not None:
                recorder.relay.close()


@pytest.fixture(scope="session")
def started_realm(recorder: Recorder) -> Iterator[LiveRealm]:
    """A whole realm, recorded from its first byte on."""
    live = LiveRealm(note=lambda _: None)
    live.relay = recorder.relay
    try:
        live.start_realm(LIVE)
        live.add(parties())
        live.enrol_only(visitor())
        yield live
    finally:
        live.stop()


@pytest.fixture
def live(started_realm: LiveRealm) -> LiveRealm:
    """The realm, with everybody online whatever the test before did."""
    for party in parties():
        until(
            lambda name=party.name: started_realm.is_online(name),  # type: ignore[misc]  # a default as a closure
            f"{party.name} is online",
        )
    return started_realm
