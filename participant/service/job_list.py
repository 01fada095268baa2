"""One's own jobs: from the running control process or the journal; their results."""

import json
from pathlib import Path

from pydantic import JsonValue

from participant.home.folder import Home
from participant.protocol.model import PartyJob
from participant.service.local import Answer, ask_once
from participant.service.summary import Phase
from shared.errors import ConfigError


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


def read_figures(answer: Answer) -> dict[str, JsonValue]:
    """Return the figures in the result's file of a job that is done.

    Raises:
        ConfigError: it is gone or damaged.
    """
    path = Path(str(answer.get("result")))
    try:
        figures: JsonValue = json.loads(path.read_text())["result"]
    except OSError as error:
        raise ConfigError(
            f"cannot read the result in {path}: {error.strerror}",
            "results are in the home; ask for the job again if it was deleted",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(answer) from error
    if not isinstance(figures, dict):
        raise damaged(answer)
    return figures


def damaged(answer: Answer) -> ConfigError:
    """Return the error of a result's file that is not as it was written."""
    path = str(answer.get("result"))
    return ConfigError(f"the result in {path} is damaged", "ask for the job again")


def phase_in(answer: Answer) -> Phase:
    """Return how far a job is, as its summary says.

    Raises:
        ConfigError: a control process of another release made it.
    """
    try:
        return Phase(str(answer.get("phase")))
    except ValueError as error:
        raise ConfigError(
            "the control process is of another release", "stop it and start it again"
        ) from error


def name_of(answer: Answer) -> str:
    """Return how a user names a job: its number, else the start of its id."""
    return str(answer.get("job") or str(answer.get("id"))[:16])
