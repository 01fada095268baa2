"""Jobs as they are printed."""

import json
from pathlib import Path

import pytest

from participant.cli.shown import near_names, print_end, print_jobs
from participant.service.local import Answer
from shared.cli import ExitCode

JOB: Answer = {
    "job": "J001",
    "id": "00" * 16,
    "state": "done",
    "phase": "delivered",
    "is_over": True,
    "statistic": "mean",
    "dataset": "visits",
    "columns": ["mdvis", "disea"],
    "servers": 3,
    "sources": 2,
    "requested": 1_900_000_000_000,
    "times_ms": {"total": 40, "started": 9},
}
FAILED: Answer = {
    **JOB,
    "state": "failed",
    "phase": "linking",
    "code": "link_failed",
    "party": "MPC_server_001",
    "reason": "[/] no route",
}


def test_a_job_that_failed_says_at_whom_in_which_phase_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr, with what to do where that is known."""
    hinted: Answer = {**FAILED, "hint": "did you mean it?"}
    code = print_end(hinted, quiet=True, as_json=False)
    printed = capsys.readouterr()

    assert code == ExitCode.FAILED
    assert printed.out == ""
    assert printed.err == (
        "J001 failed (link_failed) at MPC_server_001 while opening links to the MPC"
        " servers: [/] no route\nmpc-participant: hint: did you mean it?\n"
    )


def test_a_result_is_printed_for_people_and_for_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How long it took is told on stderr, unless somebody wants quiet."""
    path = tmp_path / "r.json"
    path.write_text('{"result": {"mean": {"mdvis": 1.5}}}')
    done: Answer = {**JOB, "result": str(path)}
    codes = [
        print_end(done, quiet=False, as_json=False),
        print_end(done, quiet=True, as_json=False),
    ]
    people = capsys.readouterr()
    codes.append(print_end(done, quiet=False, as_json=True))
    machines = json.loads(capsys.readouterr().out)

    assert codes == [ExitCode.DONE] * 3
    assert people.out.count("mean.mdvis") == 2
    assert people.err == "2 sources, 3 MPC servers, 40 ms\n"
    assert machines["result"] == {"mean": {"mdvis": 1.5}}
    assert machines["requested"] == "2030-03-17T17:46:40.000Z"
    assert machines["times_ms"] == {"started": 9, "total": 40}


def test_reasons_are_shown_as_they_came(capsys: pytest.CaptureFixture[str]) -> None:
    """Anybody may have written them."""
    print_jobs([FAILED])

    assert "[/] no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dataset": "visit"}, "did you mean 'visits'?"),
        ({"dataset": "claims"}, None),
        ({"columns": ["mdvis", "diseas"]}, "did you mean 'disea'?"),
        ({"columns": ["unheard"]}, None),
    ],
)
def test_names_that_led_to_a_result_are_near(
    changes: Answer, expected: str | None
) -> None:
    """Of one's own jobs that are done; the failed one names nothing that there is."""
    failed = {**FAILED, **changes}

    assert expected == near_names(failed, [JOB, failed])
    assert near_names(failed, [failed]) is None
