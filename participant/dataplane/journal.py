"""A job's folder: sealed shares, spent tickets, the result. All files are 0600.

Whatever is there is complete: files are written beside their place, synchronised to
disk and renamed. Everything here blocks; callers use a thread.
"""

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.names import JobId, Principal

TICKET_ID_BYTES: Final = 16
_SHARE: Final = "share"
_SHARES: Final = "shares"
_SPENT: Final = "spent"
_RESULT: Final = "result.json"


class Journal:
    """The folder of one job, made when the first file is written.

    After ``discard`` nothing is written any more, not even by a thread that was on
    its way.
    """

    def __init__(self, folder: Path, job: JobId) -> None:
        self._folder = folder / job.hex()
        self._lock = threading.Lock()
        self._is_discarded = False

    @property
    def result_path(self) -> Path:
        """Where the result is once it is known."""
        return self._folder / _RESULT

    def write_share(self, sealed: bytes) -> None:
        """Keep this server's sealed output share."""
        self._write(self._folder / _SHARE, sealed)

    def read_share(self) -> bytes | None:
        """Return this server's sealed output share, if it was computed."""
        return _read(self._folder / _SHARE)

    def spend(self, ticket: bytes) -> None:
        """Remember that data were exchanged under a ticket."""
        with self._lock:
            if self._is_discarded:
                return
            _make(self._folder)
            path = self._folder / _SPENT
            is_new = not path.exists()
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, ticket)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if is_new:
                _synchronise(self._folder)

    def spent(self) -> frozenset[bytes]:
        """Return the ids of all tickets that were spent."""
        data = _read(self._folder / _SPENT) or b""
        starts = range(0, len(data) - TICKET_ID_BYTES + 1, TICKET_ID_BYTES)
        return frozenset(data[start : start + TICKET_ID_BYTES] for start in starts)

    def write_server_share(self, server: Principal, sealed: bytes | memoryview) -> None:
        """Keep a server's sealed output share at the consumer."""
        self._write(self._folder / _SHARES / server, sealed)

    def read_server_share(self, server: Principal) -> bytes | None:
        """Return a server's sealed output share, if it came before."""
        return _read(self._folder / _SHARES / server)

    def drop_server_share(self, server: Principal) -> None:
        """Forget a share that turned out to be of no use."""
        (self._folder / _SHARES / server).unlink(missing_ok=True)

    def drop_server_shares(self) -> None:
        """Forget all shares: the result is written."""
        shutil.rmtree(self._folder / _SHARES, ignore_errors=True)

    def write_result(self, result: Mapping[str, object]) -> None:
        """Write the result as one JSON object."""
        text = json.dumps(result, allow_nan=False, ensure_ascii=False)
        self._write(self.result_path, text.encode() + b"\n")

    def has_result(self) -> bool:
        """Say whether the result was written before."""
        return self.result_path.is_file()

    def discard(self) -> None:
        """Delete the folder and all that is in it; harmless if there is none."""
        with self._lock:
            self._is_discarded = True
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        with self._lock:
            if not self._is_discarded:
                self._write_now(path, data)

    def _write_now(self, path: Path, data: bytes | memoryview) -> None:
        _make(path.parent)
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.rename(path)
        _synchronise(path.parent)


def _make(folder: Path) -> None:
    """Make a folder that is still there after a crash."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _synchronise(folder.parent)


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _synchronise(folder: Path) -> None:
    """Make sure that what was made in the folder survives a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
