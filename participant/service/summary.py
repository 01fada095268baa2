"""A job in the words of its user: what the command line shows of it."""

from collections.abc import Mapping
from enum import StrEnum, unique
from typing import Final

from participant.protocol.model import Ending, PartyJob, Stage
from shared.codec import Value
from shared.errors import DecodeError, FailureCode
from shared.messages import Endorsement, Manifest, Outcome, read_spec, unpack
from shared.names import Duty, Role, display_number

_TIMES = (
    (Stage.ACCEPTED.value, "offered"),
    (Stage.STARTED.value, "started"),
    (Stage.LINKED.value, "linked"),
    (Stage.DELIVERED.value, "result"),
)


@unique
class Phase(StrEnum):
    """How far a job is, in the words of its consumer."""

    ASKED = "asked"
    ACCEPTING = "accepting"
    LINKING = "linking"
    COMPUTING = "computing"
    FETCHING = "fetching"
    DONE = "done"


PHASE_WORDS: Final[Mapping[Phase, str]] = {
    Phase.ASKED: "waiting for the manager",
    Phase.ACCEPTING: "waiting for the other parties to accept",
    Phase.LINKING: "opening links to the MPC servers",
    Phase.COMPUTING: "the MPC servers compute",
    Phase.FETCHING: "fetching the result",
}
"""What happens in each phase in which a consumer waits, in order."""

_FURTHEST = (
    (Stage.COMPUTED, Phase.FETCHING),
    (Stage.LINKED, Phase.COMPUTING),
    (Stage.STARTED, Phase.LINKING),
    (Stage.ACCEPTED, Phase.ACCEPTING),
    (Stage.PREPARING, Phase.ACCEPTING),
)


def summary(job: PartyJob) -> dict[str, Value]:
    """Return what is known of a job; times in milliseconds since the request.

    ``state``: ``done``, ``failed``, ``cancelled`` or ``expired`` at the end, else the
    stage. ``phase``: how far it is, or was when it ended. ``result``: the file, once
    it is there.
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
        "phase": phase_of(job).value,
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
            "reason": _reason(job, ending),
        }
    return shown


def is_over(job: PartyJob) -> bool:
    """Say whether the user need not wait any longer."""
    return job.stage in {Stage.DELIVERED, Stage.CLOSED}


def phase_of(job: PartyJob) -> Phase:
    """Return how far a job is, or how far it was when it ended without a result."""
    if job.stage is Stage.DELIVERED:
        return Phase.DONE
    for stage, phase in _FURTHEST:
        if job.time_of(stage.value) is not None:
            return phase
    return Phase.ASKED


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
        case Stage.PREPARING:
            return "reading the data"
        case _:
            return PHASE_WORDS.get(phase_of(job), "")


def _reason(job: PartyJob, ending: Ending) -> str | None:
    """Say why a job ended; of a link, where it should have led."""
    addresses: tuple[str, ...] = ()
    if ending.code is FailureCode.LINK_FAILED:
        addresses = _addresses(job, ending.party)
    if not addresses:
        return ending.reason
    where = f"{ending.party} is to be reached at {', '.join(addresses)}"
    return f"{ending.reason}; {where}" if ending.reason else where


def _addresses(job: PartyJob, principal: str | None) -> tuple[str, ...]:
    """Return where an MPC server of the job is dialled; none for anybody else."""
    try:
        manifest = unpack(Manifest, job.manifest) if job.manifest else None
        for entry in manifest.parties if manifest else ():
            if entry.p == principal:
                return unpack(Endorsement, entry.endorse).addrs
    except DecodeError:
        pass
    return ()


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
