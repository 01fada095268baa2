"""A job as a picture."""

from xml.etree import ElementTree as ET

import pytest

from manager.cli.outputs import Job
from manager.cli.timeline import KINDS, rows_of, timeline
from manager.protocol.job_state import Moment
from shared.messages import Outcome
from shared.names import Duty
from tests.unit.manager.cli.jobs_shown import DONE, PARTIES, job, party

EARLY = {moment: DONE[moment] for moment in (Moment.REQUESTED, Moment.OFFERED)} | {
    Moment.CLOSED: 90
}
FAILED_LINK = {
    moment: DONE[moment]
    for moment in (Moment.REQUESTED, Moment.OFFERED, Moment.ACCEPTED, Moment.STARTED)
} | {Moment.CLOSED: 300}


def spans(shown: Job) -> dict[str, list[tuple[str, int, int]]]:
    """Return what each row was busy with, and from when to when."""
    return {
        row.name: [(s.kind, s.begin, s.end) for s in row.segments]
        for row in rows_of(shown)
    }


def test_a_row_tells_what_a_party_was_busy_with() -> None:
    """The consumer first, then servers by number, then sources; no time is lost."""
    assert list(spans(job()).items()) == [
        (
            "all",
            [
                ("agreeing", 0, 110),
                ("linking", 110, 200),
                ("input", 200, 210),
                ("computing", 210, 400),
                ("output", 400, 450),
            ],
        ),
        (
            "Analytics001",
            [("agreeing", 1, 110), ("linking", 110, 195), ("output", 195, 450)],
        ),
        *(
            (
                name,
                [
                    ("agreeing", 1, 110),
                    ("linking", 110, 190),
                    ("input", 190, 210),
                    ("computing", 210, 390),
                    ("output", 390, 440),
                ],
            )
            for name in ("MPC_server_001", "MPC_server_002")
        ),
        (
            "Liberty001",
            [("agreeing", 1, 110), ("linking", 110, 180), ("input", 180, 205)],
        ),
    ]


def test_what_a_job_failed_at_lasts_until_its_end() -> None:
    """The whole job's row says in which phase; the party is marked."""
    failed = job(
        FAILED_LINK,
        (party("MPC_server_001", Duty.COMPUTE, {}, 0), PARTIES[-1]),
        Outcome.FAILED,
        party="MPC_server_001",
    )
    marked = [row.name for row in rows_of(failed) if row.failed]

    assert spans(failed)["all"] == [("agreeing", 0, 110), ("linking", 110, 300)]
    assert marked == ["MPC_server_001"]
    assert "failed after 300 ms" in timeline(failed)


def test_who_refused_has_a_row_without_being_in_the_roster() -> None:
    """The roster is without it by then."""
    refused = job(EARLY, PARTIES[1:], Outcome.FAILED, party="Liberty001")

    assert spans(refused)["Liberty001"] == []
    assert spans(refused)["MPC_server_001"] == [("agreeing", 1, 90)]


@pytest.mark.parametrize(
    "shown",
    [
        job(),
        job(EARLY, (), Outcome.FAILED),
        job({Moment.REQUESTED: 0}, (), None),
        job({Moment.REQUESTED: 0, Moment.CLOSED: 0}, (), Outcome.CANCELLED),
        job(reason='<script>&"\x00\ud800', outcome=Outcome.FAILED),
        job(parties=(party(f"{'long' * 30}001", Duty.INPUT, {}),)),
    ],
)
def test_every_picture_is_xml_and_the_same_every_time(shown: Job) -> None:
    """Names and reasons come from anybody."""
    picture = timeline(shown)
    root = ET.fromstring(picture)

    assert picture == timeline(shown.model_copy())
    assert not root.findall(".//{*}script")
    assert {"paper", *KINDS} <= {each.get("class") for each in root.iter()}
    assert picture.count("prefers-color-scheme: dark") == 1
