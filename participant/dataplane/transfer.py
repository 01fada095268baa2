"""Blocks of data over links, and several of them at once."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable

from participant.dataplane.block import DataReceiver
from participant.dataplane.frames import DATA_CHUNK_BYTES, FrameType, decode_end
from participant.dataplane.frames import data_frames as frames_of
from participant.dataplane.links import Link, LinkLostError, PeerAbortedError
from shared.errors import FailureCode, JobAbortedError, RemoteProtocolError
from shared.names import Principal


class TruncatedError(RemoteProtocolError):
    """A block began and did not come whole."""


async def send_block(
    link: Link, block: bytes, max_frame_bytes: int = DATA_CHUNK_BYTES
) -> None:
    """Send DATA… and END.

    Raises:
        LinkLostError: the link broke.
    """
    for frame in frames_of(block, min(DATA_CHUNK_BYTES, max_frame_bytes - 1)):
        await link.send_encoded(*frame)


async def receive_block(
    link: Link,
    max_bytes: int,
    on_first: Callable[[], None] | None = None,
) -> memoryview:
    """Return the block that DATA… and END carry.

    Args:
        link: where from.
        max_bytes: how long it may be.
        on_first: called when the first DATA are taken.

    Raises:
        TruncatedError: EOF after the first DATA, or the END does not fit.
        LinkLostError: EOF before it.
        RemoteProtocolError: another frame came, or too much data.
        PeerAbortedError: the peer gave up.
        JobAbortedError: there is no memory for it.
    """
    receiver = DataReceiver(max_bytes, on_first)
    try:
        frame = await link.receive_into(receiver)
    except LinkLostError as error:
        if receiver.has_data:
            raise TruncatedError("the data ended before their END") from error
        raise
    if frame.type is not FrameType.END:
        raise RemoteProtocolError(f"a frame {frame.type.name} among data")
    try:
        return receiver.finish(decode_end(frame.body).count)
    except RemoteProtocolError as error:
        raise TruncatedError(str(error)) from error


async def wait_in_silence(link: Link, event: asyncio.Event) -> None:
    """Wait for an event of ours; no frame may come on the link before it.

    Raises:
        RemoteProtocolError: one came.
        LinkLostError: the link broke.
        PeerAbortedError: the peer gave up.
    """
    if event.is_set():
        return
    reading = asyncio.ensure_future(link.receive())
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            frame = reading.result()
            if not event.is_set():
                raise RemoteProtocolError(f"a frame {frame.type.name} before its time")
            link.put_back(frame)  # the peer answers what followed the event
    finally:
        reading.cancel()
        waiting.cancel()
        await asyncio.gather(reading, waiting, return_exceptions=True)


def job_error(error: Exception, peer: Principal) -> JobAbortedError:
    """Return what an error on a proven link with a peer means for the job."""
    if isinstance(error, JobAbortedError):
        return error
    if isinstance(error, PeerAbortedError):
        return JobAbortedError(f"{peer} ended the job: {error.code}", error.code, peer)
    if isinstance(error, TruncatedError):
        return JobAbortedError(
            f"data of {peer} were cut off", FailureCode.TRUNCATED, peer
        )
    if isinstance(error, RemoteProtocolError):
        return JobAbortedError(
            f"{peer} broke the protocol: {error}", FailureCode.LINK_FAILED, peer
        )
    return JobAbortedError(
        f"the link with {peer} was lost: {error}", FailureCode.PARTY_LOST, peer
    )


async def together(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Run all at once; the first error ends the others and is raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    if not tasks:
        return
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
