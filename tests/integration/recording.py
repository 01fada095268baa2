"""What processes say to one another over the loopback interface, written down."""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.integration import loopback_recorder
from tests.integration.loopback_recorder import RECORD

JOIN_SECONDS = 10.0
"""How long a connection through the relay may take to end."""


class Recorder:
    """What crosses the loopback interface.

    Without the right to see all of it, what participants and broker say to one
    another through a relay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.dropped = 0
        self.relay: Relay | None = None
        self._process = subprocess.Popen(
            [sys.executable, loopback_recorder.__file__, str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.sees_everything = self._process.stdout.readline() == "recording\n"
        if not self.sees_everything:
            self._process.communicate()
            self.relay = Relay(path)

    def stop(self) -> None:
        """Write everything down; may be called again."""
        if self._process.poll() is None:
            self._process.terminate()
            rest, _ = self._process.communicate()
            self.dropped = int(rest or 0)

    def flows(self) -> Mapping[tuple[int, int], bytes]:
        """Return what was sent, by source and destination port."""
        return dict(loopback_recorder.flows(self.path))


class Relay:
    """A port of this machine that leads to the broker and records what passes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = ("", 0)
        self._threads: list[threading.Thread] = []

    def url(self, broker: str) -> str:
        """Return the url to use in the broker's place."""
        parts = urlsplit(broker)
        host = parts.hostname or ""
        if not self._target[0]:
            self._target = (host, parts.port or 0)
            self._begin(self._accept)
        port = self._listener.getsockname()[1]
        return f"{parts.scheme}://{host}:{port}{parts.path}"

    def close(self) -> None:
        """Take no more connections and wait for the ends of those that there are."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
        self._listener.close()
        self._file.close()

    def _begin(self, work: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, address = self._listener.accept()
                self._begin(self._serve, near, address[1])

    def _serve(self, near: socket.socket, port: int) -> None:
        broker = self._target[1]
        with near, socket.create_connection(self._target) as far:
            back = self._begin(self._pump, far, near, (broker, port))
            self._pump(near, far, (port, broker))
            back.join()

    def _pump(
        self, source: socket.socket, target: socket.socket, ports: tuple[int, int]
    ) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._file.write(RECORD.pack(*ports, len(data)) + data)
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
