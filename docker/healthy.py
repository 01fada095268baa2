"""Ends with 0 if the container does its work: ``healthy.py manager|participant``.

Commands of the two programs say more and import more; this is asked every few seconds.
"""

import os
import socket
import struct
import sys
from pathlib import Path

SECONDS = 5.0
LENGTH = struct.Struct(">I")


def manager() -> bool:
    """Say whether somebody reads the manager's queues at the broker."""
    from manager.broker.access import broker_access  # noqa: PLC0415 - not for both
    from manager.config import load_settings  # noqa: PLC0415
    from shared.topology import MANAGER_QUEUES  # noqa: PLC0415

    with broker_access(load_settings({})).admin() as admin:
        readers = {count.name: count.consumers for count in admin.queue_counts()}
    return all(readers.get(queue) for queue in MANAGER_QUEUES)


def participant() -> bool:
    """Say whether the control process has a session with the manager.

    The local socket's frames are described in ``participant/service/local.py``.
    """
    from shared import codec  # noqa: PLC0415 - not for both

    request = codec.encode({"op": "status"})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(str(Path(os.environ["MPC_HOME"]) / "control.sock"))
        connection.sendall(LENGTH.pack(len(request)) + request)
        with connection.makefile("rb") as stream:
            (length,) = LENGTH.unpack(stream.read(LENGTH.size))
            return bool(codec.decode_map(stream.read(length)).get("is_online"))


CHECKS = {"manager": manager, "participant": participant}


def main(kind: str) -> int:
    """Return the exit code of a check, and print why it failed."""
    try:
        return 0 if CHECKS[kind]() else 1
    except Exception as error:  # noqa: BLE001 - whatever it is, this is not healthy
        sys.stderr.write(f"{kind}: {error or type(error).__name__}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
