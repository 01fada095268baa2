"""One's own jobs: from the running control process, or from the journal."""

from participant.home.folder import Home
from participant.protocol.model import PartyJob
from participant.service.local import Answer, ask_once


async def running_jobs(home: Home) -> list[Answer]:
    """Return the summaries of one's jobs, the newest last.

    Raises:
        NotRunningError: no control process runs in the home.
    """
    listed = (await ask_once(home, {"op": "jobs"})).get("jobs")
    return [job for job in listed if isinstance(job, dict)] if listed else []  # type: ignore[union-attr]  # a list, by the socket's contract


def kept_jobs(home: Home, password: bytes | None) -> list[PartyJob]:
    """Return one's jobs from the journal, while no control process runs.

    Raises:
        ConfigError: the key file does not open.
    """
    identity = home.key_file(password).load()
    return [job for job in home.journal(identity).read() if job.time_of("requested")]
