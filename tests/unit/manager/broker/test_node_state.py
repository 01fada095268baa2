"""What is kept of a private node, read back; no RabbitMQ is needed."""

import json
from pathlib import Path
from typing import Any

import pytest

from manager.broker.node import PrivateNode
from shared.errors import ConfigError
from shared.names import Realm

PORTS = {
    "amqp": 20001,
    "management": 20002,
    "administration": 20003,
    "distribution": 20004,
    "epmd": 20005,
}
"""As a release wrote them whose nodes had no port for figures."""


def kept(folder: Path, ports: dict[str, Any]) -> PrivateNode:
    """Return a node that was started once, with these ports."""
    content = {"mark": "0a0b0c0d", "ports": ports, "pid": None}
    (folder / "node.json").write_text(json.dumps(content))
    return PrivateNode(folder, Realm("demo"))


def test_a_node_of_an_earlier_release_gets_the_port_that_it_lacks(
    tmp_path: Path,
) -> None:
    """Once: whoever was told it finds it there again."""
    node = kept(tmp_path, PORTS)
    first, second = node.status(), node.status()
    written = json.loads((tmp_path / "node.json").read_text())
    assert first is not None

    assert first.ports.prometheus not in PORTS.values()
    assert first == second
    assert first.node_name == "mpc-0a0b0c0d@localhost"
    assert written["ports"] == {**PORTS, "prometheus": first.ports.prometheus}


def test_a_node_of_an_earlier_release_can_be_stopped(tmp_path: Path) -> None:
    """Before a new one is installed, or after."""
    assert not kept(tmp_path, {**PORTS, "epmd": 1}).stop()


@pytest.mark.parametrize(
    "ports",
    [
        {},
        {**PORTS, "another": 20006},
        {**PORTS, "epmd": [20005]},
        {name: PORTS[name] for name in ("amqp", "management", "epmd")},
    ],
)
def test_what_no_release_wrote_is_damaged(
    ports: dict[str, Any], tmp_path: Path
) -> None:
    """And stays as it is, for whoever looks at it."""
    node = kept(tmp_path, ports)
    before = (tmp_path / "node.json").read_bytes()
    for call in (node.status, node.stop):
        with pytest.raises(ConfigError, match="is damaged") as raised:
            call()

        assert raised.value.hint
    assert (tmp_path / "node.json").read_bytes() == before
