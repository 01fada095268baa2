"""What a participant counts as its jobs move."""

from dataclasses import replace

from participant.protocol.model import (
    Broke,
    Ending,
    PartyJob,
    Reached,
    Stage,
)
from participant.service.figures import Figures
from shared.errors import FailureCode, RefusalCode
from shared.messages import Outcome
from shared.names import JobId

JOB = PartyJob(JobId(b"j" * 16), b"spec", b"signature", Stage.STARTED, 0, 0, epoch=1)
OTHER = Broke(1, 0, FailureCode.PARTY_LOST, None, "lost")


def value(figures: Figures, name: str, **labels: str) -> float:
    """Return one sample."""
    found = figures.registry.get_sample_value(f"mpc_participant_{name}", labels)
    assert found is not None, name
    return found


def reach(
    figures: Figures, job: PartyJob, stage: Stage, taken: int, sent: int
) -> PartyJob:
    """Let a job reach a phase after 40 ms; return it."""
    event = Reached(job.epoch, stage, 0, 40, taken, sent)
    after = replace(job, stage=stage)
    figures.moved(job, after, event)
    return after


def test_phases_and_bytes_are_counted_once_each() -> None:
    """The data process says how much there was so far; a new roster begins anew."""
    figures = Figures()
    linked = reach(figures, JOB, Stage.LINKED, 10, 1)
    reach(figures, linked, Stage.RUNNING, 10, 101)
    again = replace(JOB, epoch=2)
    linked = reach(figures, again, Stage.LINKED, 5, 0)
    figures.moved(linked, linked, Reached(2, Stage.LINKED, 0, 40, 5, 0))

    assert value(figures, "data_bytes_total", direction="in") == 15
    assert value(figures, "data_bytes_total", direction="out") == 101
    assert value(figures, "job_phase_seconds_count", phase="linked") == 2
    assert value(figures, "job_phase_seconds_sum", phase="running") == 0.04


def test_a_job_ends_once() -> None:
    """Delivered is done; what the manager adds later changes nothing."""
    figures = Figures()
    delivered = reach(figures, JOB, Stage.DELIVERED, 0, 0)
    figures.moved(delivered, replace(delivered, number=7), OTHER)

    assert value(figures, "jobs_ended_total", code="done") == 1


def test_a_failure_and_a_refusal_have_their_codes() -> None:
    """A job that fails here ends when the manager closes it."""
    figures = Figures()
    word = Ending(Outcome.FAILED, FailureCode.PARTY_LOST)
    failed = replace(JOB, stage=Stage.FAILED, ending=word)
    figures.moved(JOB, failed, OTHER)
    figures.moved(failed, replace(failed, stage=Stage.CLOSED), OTHER)
    refusal = (RefusalCode.POLICY, "not for you")
    refused = replace(JOB, stage=Stage.REFUSED, refusal=refusal)
    figures.moved(None, refused, OTHER)

    assert value(figures, "jobs_ended_total", code="party_lost") == 1
    assert value(figures, "jobs_ended_total", code="done") == 0
    assert value(figures, "jobs_refused_total", code="policy") == 1


def test_a_lost_data_process_is_counted() -> None:
    """Every one takes links, shares and TLS keys with it."""
    figures = Figures()
    figures.data_process_lost()

    assert value(figures, "data_process_losses_total") == 1
