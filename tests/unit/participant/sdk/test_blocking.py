"""The loop in a thread, and who may wait for it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from participant.home.folder import Home
from participant.sdk.blocking import Analyst, Job, _Loop
from participant.sdk.job import AsyncJob
from shared.errors import FrameworkError


def test_a_listener_that_would_wait_for_itself_is_refused(tmp_path: Path) -> None:
    """It runs in the loop's thread; the analyst stays open."""
    loop = _Loop()
    job = Job(AsyncJob(Home(tmp_path), None), loop)
    analyst = Analyst(tmp_path)
    analyst._loop = loop

    async def follow(listener: Callable[[], object]) -> None:
        listener()

    for listener in (job.cancel, job.result, analyst.jobs, analyst.close):
        told = asyncio.run_coroutine_threadsafe(follow(listener), loop._loop)
        with pytest.raises(FrameworkError, match="a progress listener cannot") as got:
            told.result(10)

        assert "SimpleQueue" in str(got.value.hint)
    # Not in a finally: a thread that waits for itself does not end.
    analyst.close()

    with pytest.raises(FrameworkError, match="not open"):
        analyst.jobs()
