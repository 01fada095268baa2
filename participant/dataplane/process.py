"""The data process: ``python -m participant.dataplane.process FD [LEVEL [FORMAT]]``.

FD is one end of a socketpair whose other end the control process holds. When that
is closed, for whatever reason, this process ends.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import uvloop

from participant.dataplane.ipc import (
    Configure,
    NewTlsKey,
    Prepare,
    Quit,
    Revoke,
    StartJob,
    StopJob,
    TrustAuthorities,
    UseLeaf,
)
from participant.dataplane.ipc_stream import IpcStream
from participant.dataplane.plane import DataPlane
from participant.dataplane.times import Times
from shared import log
from shared.clock import SystemClock
from shared.collector import spare_what_is_loaded
from shared.errors import DecodeError, FrameworkError

USAGE_EXIT: Final = 2
_NAME: Final = "participant.dataplane.process"
_FLAGS: Final = ("FD", "[LEVEL]", "[FORMAT]")
_DEFAULTS: Final = ("info", "auto")
_ORDERS: Final = (
    Configure,
    NewTlsKey,
    UseLeaf,
    TrustAuthorities,
    Prepare,
    StartJob,
    StopJob,
    Revoke,
    Quit,
)

_log = logging.getLogger(__name__)


async def serve(connection: socket.socket) -> None:
    """Carry out orders until there are no more.

    Raises:
        FrameworkError: the control process sent what it must not: a bug.
    """
    asyncio.get_running_loop().set_exception_handler(loop_error)
    stream = await IpcStream.over(connection)
    plane = DataPlane(stream.send, SystemClock(), Times())
    try:
        while (order := await stream.receive()) is not None:
            if not isinstance(order, _ORDERS):
                raise DecodeError("an answer where an order was due")
            if not await plane.handle(order):
                break
    finally:
        await plane.close()
        stream.close()


def loop_error(loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
    """Note what the event loop met where nobody waits for it.

    When a link is given up in the middle of its handshake, uvloop still tries to write
    TLS's last words into the closed socket and complains.
    """
    error = context.get("exception")
    if isinstance(error, RuntimeError) and "handler is closed" in str(error):
        _log.debug("link given up", extra={"reason": str(error)})
        return
    loop.default_exception_handler(dict(context))


def main(arguments: Sequence[str]) -> int:
    """Run the data process and return its exit code."""
    if not 1 <= len(arguments) <= len(_FLAGS) or not arguments[0].isdecimal():
        sys.stderr.write(f"usage: python -m {_NAME} {' '.join(_FLAGS)}\n")
        return USAGE_EXIT
    # Keys and shares are in memory: no core dumps. The control process decides what
    # a signal to the whole group means, and ends this one.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.umask(0o077)
    level, form = (*arguments[1:], *_DEFAULTS[len(arguments) - 1 :])
    log.configure(level, form=form)
    spare_what_is_loaded()
    connection = socket.socket(fileno=int(arguments[0]))
    try:
        uvloop.run(serve(connection))
    except FrameworkError as error:
        _log.error("the data process ends", extra={"reason": str(error)})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
