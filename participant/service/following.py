"""Waiting for a job's end, hearing how far it is."""

from collections.abc import Callable

from participant.home.folder import Home
from participant.service.local import Answer, Request, ask


async def followed(
    home: Home, request: Request, progress: Callable[[Answer], None]
) -> Answer:
    """Ask the control process of a home for a job; return its summary at the end.

    Args:
        home: where a control process runs.
        request: ``submit`` or ``result``.
        progress: gets the job's summary whenever something has changed.

    Raises:
        NotRunningError: no control process runs.
        FrameworkError: the job cannot be asked for, or is not known.
    """
    end: Answer = {}
    async for answer in ask(home, request):
        if answer.get("event") == "done":
            end = answer
        else:
            progress(answer)
    return end
