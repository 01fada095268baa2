"""A real RabbitMQ for the integration tests: one private node for the session."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from manager.broker.access import BrokerAccess
from manager.broker.admin import BrokerAdmin
from manager.broker.node import PrivateNode
from shared.names import Realm

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
        status.authority_path.read_text(),
    )


@pytest.fixture
def admin(broker: BrokerAccess) -> Iterator[BrokerAdmin]:
    """The node's administrator."""
    with broker.admin() as admin:
        yield admin
