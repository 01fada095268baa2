"""How jobs and session stand, as Prometheus sees them at every scrape."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from participant.protocol.model import OVER, Stage
from participant.service.jobs import Jobs
from participant.service.session import Mail


class Standing(Collector):
    """Reads jobs and session; called in the event loop.

    Args:
        jobs: of this participant.
        mail: where the session is.
        slots: how many jobs may run at a time.
    """

    def __init__(self, jobs: Jobs, mail: Mail, slots: int) -> None:
        self._jobs = jobs
        self._mail = mail
        self._slots = slots

    def collect(self) -> Iterator[Metric]:
        """Yield how things stand now."""
        stages = {stage: 0 for stage in Stage if stage not in OVER}
        for job in self._jobs.all():
            if job.stage in stages:
                stages[job.stage] += 1
        jobs = GaugeMetricFamily(
            "mpc_participant_jobs",
            "Jobs that are not over, by stage.",
            labels=["stage"],
        )
        for stage, number in stages.items():
            jobs.add_metric([stage.value], number)
        yield jobs
        slots = GaugeMetricFamily(
            "mpc_participant_slots", "Slots for jobs: all, and taken.", labels=["state"]
        )
        slots.add_metric(["all"], self._slots)
        slots.add_metric(["taken"], self._jobs.slots_taken)
        yield slots
        session = self._mail.sessions.current
        yield GaugeMetricFamily(
            "mpc_participant_session",
            "1 while there is a session with the manager.",
            value=session is not None,
        )
