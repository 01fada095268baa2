"""The environment in which a private node runs: nothing of the caller's."""

import os
from pathlib import Path

from manager.broker.files import RabbitPrograms
from manager.broker.ports import LOOPBACK, NodePorts

# Two schedulers that sleep when idle: a control plane is a few messages a job.
_ERLANG_ARGUMENTS = "+S 2:2 +sbwt none"


def node_environment(
    programs: RabbitPrograms, folder: Path, name: str, ports: NodePorts, marks: str
) -> dict[str, str]:
    """Return all of a node's environment.

    Args:
        programs: what runs it.
        folder: where everything of the node lies.
        name: of the node, in Erlang's form.
        ports: on which it listens.
        marks: arguments by which its process is known again.
    """
    environment = {
        "PATH": programs.search_path,
        "LANG": "C.UTF-8",
        "HOME": str(folder / "home"),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(ports.amqp),
        "RABBITMQ_DIST_PORT": str(ports.distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "rabbitmq.pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(ports.epmd),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            f"-kernel inet_dist_use_interface {{127,0,0,1}} {_ERLANG_ARGUMENTS} {marks}"
        ),
        # Passwords are in its memory: no crash dumps.
        "ERL_CRASH_DUMP_BYTES": "0",
        # Makes the start script become the node instead of watching it.
        "detached": "1",
    }
    if programs.library_path is not None:
        environment["LD_LIBRARY_PATH"] = programs.library_path
    return environment
