"""What a control process remembers of jobs, and what each of them uses."""

import asyncio
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest

from participant.home.folder import Home
from participant.protocol.model import Stage
from participant.service import jobs as module
from participant.service.jobs import Jobs
from shared.names import MANAGER, JobId, MessageId
from shared.protocol.machine import Received
from tests.participant_world import Case


def test_the_first_of_many_ended_jobs_are_forgotten_and_slots_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is at work is never among them, however old it is."""
    monkeypatch.setattr(module, "MAX_FORGOTTEN", 2)
    case = Case()
    member = case.servers[0]
    side = case.side(member)
    world = Mock(
        context=case.world.context,
        party=side.party,
        order=AsyncMock(),
        record_pins=AsyncMock(),
    )
    jobs = Jobs(Home(tmp_path), Mock(), world, Mock())
    accepted = case.asked.job
    refused = [JobId(bytes([number]) * 16) for number in range(1, 6)]

    async def offer_all() -> None:
        for job in (accepted, *refused):  # whose spec is of the first one only
            offer = case.offer(member, job=job)
            mid = MessageId(case.world.entropy(16))
            await jobs.handle(job, Received(MANAGER, offer, mid, b""))
        jobs.close()

    asyncio.run(offer_all())

    assert {state.job: state.stage for state in jobs.all()} == {
        accepted: Stage.ACCEPTED,
        refused[3]: Stage.REFUSED,
        refused[4]: Stage.REFUSED,
    }
    assert jobs.slots_taken == 1
    assert world.slots_changed.call_count == 1
