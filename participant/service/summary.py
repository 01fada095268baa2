"""A job in the words of its user: what the command line shows of it."""

from collections.abc import Mapping
from typing import Final

from participant.protocol.model import PartyJob, Stage
from shared.codec import Value
from shared.errors import DecodeError
from shared.messages import Manifest, Outcome, read_spec, unpack
from shared.names import Duty, Role, display_number

_TIMES = (
    (Stage.ACCEPTED.value, "offered"),
    (Stage.STARTED.value, "started"),
    (Stage.LINKED.value, "linked"),
    (Stage.DELIVERED.value, "result"),
)

_WORDS: Final[Mapping[Stage, str]] = {
    Stage.ASKED: "waiting for the manager",
    Stage.PREPARING: "reading the data",
    Stage.ACCEPTED: "waiting for the other parties to accept",
    Stage.STARTED: "opening links to the MPC servers",
    Stage.LINKED: "the MPC servers compute",
    Stage.RUNNING: "the MPC servers compute",
    Stage.COMPUTED: "fetching the result",
}
"""The phases of a job in which its consumer waits, in order."""

PHASES: Final = tuple(stage.value for stage in _WORDS)
"""Their names, as ``phase`` in a summary has them."""


def phase_words(phase: str) -> str:
    """Return what happens in a phase, to be said behind "while"."""
    return _WORDS[Stage(phase)]


def summary(job: PartyJob) -> dict[str, Value]:
    """Return what is known of a job; times in milliseconds since the request.

    ``state``: ``done``, ``failed``, ``cancelled`` or ``expired`` at the end, else the
    stage. ``phase``: the furthest of ``PHASES`` that it reached, or ``delivered``.
    ``result``: the file, once it is there.
    """
    ending = job.ending if job.stage in {Stage.FAILED, Stage.CLOSED} else None
    state = job.stage.value
    if job.stage is Stage.DELIVERED:
        state = Outcome.DONE.value
    elif ending is not None:
        state = ending.outcome.value
    shown: dict[str, Value] = {
        "id": job.job.hex(),
        "job": display_number(job.number) if job.number else None,
        "state": state,
        "phase": _phase(job),
        "is_over": is_over(job),
        "times_ms": _times(job),
        "requested": job.time_of("requested") or 0,
        "result": job.result,
        "waiting": None if is_over(job) else _waiting(job),
        **_asked(job),
    }
    if ending is not None:
        shown |= {
            "code": ending.code.value,
            "party": ending.party,
            "reason": ending.reason,
        }
    return shown


def is_over(job: PartyJob) -> bool:
    """Say whether the user need not wait any longer."""
    return job.stage in {Stage.DELIVERED, Stage.CLOSED}


def _times(job: PartyJob) -> dict[str, Value]:
    start = job.time_of("requested")
    if start is None:
        return {}
    times: dict[str, Value] = {}
    for stage, name in _TIMES:
        at = job.time_of(stage)
        if at is not None:
            times[name] = max(0, at - start)
    if is_over(job):
        times["total"] = max(0, max(at for _, at in job.times) - start)
    return times


def _waiting(job: PartyJob) -> str:
    """Say what the job waits for."""
    match job.stage:
        case Stage.ASKED if job.note:
            return job.note
        case Stage.REFUSED:
            return f"refused here: {job.refusal[1]}" if job.refusal else "refused here"
        case Stage.FAILED:
            return "failed here; waiting for the manager to close it"
        case _:
            return _WORDS.get(job.stage, "")


def _phase(job: PartyJob) -> str:
    """Return the furthest phase that the job has reached here."""
    if job.stage is Stage.DELIVERED:
        return job.stage.value
    reached = {name for name, _ in job.times} | {job.stage.value}
    known = [phase for phase in PHASES if phase in reached]
    return known[-1] if known else Stage.ASKED.value


def _asked(job: PartyJob) -> Mapping[str, Value]:
    try:
        spec = read_spec(job.spec)
    except DecodeError:
        return {}
    asked: dict[str, Value] = {
        "statistic": str(spec.params.get("statistic")),
        "columns": list(spec.az.cols),
        "dataset": spec.datasets[0],
        "servers": spec.servers,
        "sources": None,
    }
    if job.manifest:
        try:
            manifest = unpack(Manifest, job.manifest)
        except DecodeError:
            return asked
        servers = [e for e in manifest.parties if e.role is Role.MPCS]
        sources = [e for e in manifest.parties if Duty.INPUT in e.duties]
        asked |= {"servers": len(servers), "sources": len(sources)}
    return asked
