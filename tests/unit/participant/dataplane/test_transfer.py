"""Waiting on a link for an event of one's own, with what the peer sends meanwhile."""

import asyncio

import pytest

from participant.dataplane.frames import Frame, FrameType
from participant.dataplane.links import Link
from participant.dataplane.times import Times
from participant.dataplane.tls import Identities
from participant.dataplane.transfer import wait_in_silence
from shared.errors import RemoteProtocolError

DONE = Frame(FrameType.DONE)


def _link_with(frame: Frame) -> Link:
    """Return a link on which a frame has come."""
    link = Link(Identities(), Times(), None)
    link.put_back(frame)
    return link


def test_a_frame_before_the_event_is_a_fault() -> None:
    """The peer has to wait for what we send after it."""

    async def scenario() -> None:
        with pytest.raises(RemoteProtocolError, match="DONE before its time"):
            await wait_in_silence(_link_with(DONE), asyncio.Event())

    asyncio.run(scenario())


def test_a_frame_behind_the_event_is_left_for_its_reader() -> None:
    """A quick peer answers before our own task has noticed the event."""

    async def scenario() -> None:
        link, event = _link_with(DONE), asyncio.Event()
        event.set()
        await wait_in_silence(link, event)
        assert await link.receive() is DONE

    asyncio.run(scenario())


def test_a_frame_that_comes_with_the_event_is_left_for_its_reader() -> None:
    """Both are seen in one turn of the loop, and nothing is lost."""

    async def scenario() -> None:
        link, event = Link(Identities(), Times(), None), asyncio.Event()
        waiting = asyncio.create_task(wait_in_silence(link, event))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        link.put_back(DONE)
        assert link._reader is not None
        link._reader.set_result(None)
        event.set()
        await waiting
        assert await link.receive() is DONE

    asyncio.run(scenario())
