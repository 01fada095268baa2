"""The memory in which a block of shares is put together while it comes."""

import contextlib
import mmap
from collections.abc import Callable
from typing import Final

from shared.errors import FailureCode, JobAbortedError, RemoteProtocolError

HUGE_BYTES: Final = 2 << 20
"""From here on a block is kept in huge pages, where the system has them."""


class DataReceiver:
    """Puts the bodies of DATA frames one behind the other.

    The memory is a mapping of its own: a page of it costs nothing before bytes come
    for it, and all of it goes back to the system with the block.
    """

    __slots__ = ("_count", "_is_huge", "_max_bytes", "_memory", "_on_first")

    def __init__(
        self, max_bytes: int, on_first: Callable[[], None] | None = None
    ) -> None:
        """Start with nothing received.

        Args:
            max_bytes: how long the block may become.
            on_first: called when the first data are complete.

        Raises:
            JobAbortedError: this machine has no room for so many bytes.
        """
        try:
            self._memory = mmap.mmap(
                -1, max(1, max_bytes), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            )
        except OSError as error:
            raise JobAbortedError(
                f"no memory for {max_bytes} bytes of data ({error.strerror})",
                FailureCode.INTERNAL,
            ) from error
        self._max_bytes = max_bytes
        self._on_first = on_first
        self._count = 0
        self._is_huge = False

    @property
    def has_data(self) -> bool:
        """Whether anything came."""
        return self._count > 0

    def room(self, length: int) -> memoryview:
        """Return where the next data go; ``fill`` says that they are there.

        Raises:
            RemoteProtocolError: more bytes than were agreed; what came is dropped.
        """
        end = self._count + length
        if end > self._max_bytes:
            self._count = 0
            raise RemoteProtocolError(f"more than {self._max_bytes} bytes of data")
        if end > HUGE_BYTES and not self._is_huge:
            self._is_huge = True
            # A fault for every 4 KiB costs as much as decrypting them.
            with contextlib.suppress(OSError):  # a system without huge pages
                self._memory.madvise(mmap.MADV_HUGEPAGE, HUGE_BYTES)
        return memoryview(self._memory)[self._count : end]

    def fill(self, length: int) -> None:
        """Take so many bytes that were put into ``room``."""
        if self._on_first is not None and not self.has_data:
            self._on_first()
        self._count += length

    def add(self, body: bytes | memoryview) -> None:
        """Take the body of the next DATA; raises as ``room``."""
        self.room(len(body))[:] = body
        self.fill(len(body))

    def finish(self, count: int) -> memoryview:
        """Return the block, which its END says to have so many bytes.

        Raises:
            RemoteProtocolError: it has not.
        """
        if count != self._count:
            raise RemoteProtocolError("the END does not fit the data before it")
        return memoryview(self._memory)[:count].toreadonly()
