"""One job as a picture: who was in which phase, and for how long."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from manager.cli.outputs import Job, Party
from manager.cli.svg import CHARACTER, SMALL, document, element, shortened, text
from manager.protocol.job_state import Moment
from shared.clock import MILLISECOND
from shared.messages import JobPhase, Outcome
from shared.names import Duty

KINDS: Final = ("agreeing", "linking", "input", "computing", "output")
"""What a party may be busy with, in order; also classes of colour."""

PLOT, MARGIN, ROW, BAR = 640, 24, 26, 14
TOP, BOTTOM = 84, 72
END_LABEL = 76
LONGEST_NAME = 34
LONGEST_LINE = 110
NARROWEST = 1.5
TICKS = 6

_UNTIL: Final[Mapping[Moment, str]] = {
    Moment.STARTED: "agreeing",
    Moment.READY: "linking",
    Moment.RUNNING: "input",
    Moment.COMPUTED: "computing",
    Moment.DONE: "output",
}
"""What the job as a whole is busy with until each moment."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time, ms since the request, and what it was spent on."""

    kind: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the picture. ``failed``: the job failed at this party."""

    name: str
    note: str
    segments: tuple[Segment, ...]
    failed: bool = False


def timeline(job: Job) -> str:
    """Return a job's picture."""
    rows = rows_of(job)
    last = max((s.end for row in rows for s in row.segments), default=0)
    end = max(1, last, _end(job) or 0)
    longest = max(len(shortened(row.name, LONGEST_NAME)) for row in rows)
    left = MARGIN + longest * CHARACTER + 12
    scale = PLOT / end
    bottom = TOP + ROW * len(rows)
    parts = [
        *_heading(job),
        *_axis(end, left, scale, bottom),
        *(
            part
            for index, row in enumerate(rows)
            for part in _row(row, left, TOP + ROW * index, scale, end)
        ),
        *_closing(job, left, scale, bottom),
        *_legend(left, bottom + 52),
    ]
    return document(
        left + PLOT + END_LABEL, bottom + BOTTOM, f"Time-line of {job.number}", parts
    )


def rows_of(job: Job) -> Sequence[Row]:
    """Return the picture's rows: the whole job, then each party."""
    rows = [Row("all", "the job", tuple(_whole(job)))]
    for party in sorted(job.parties, key=_rank):
        name, segments = party.principal, tuple(_segments(job, party))
        note = f"{', '.join(party.duties)}: {party.phase or party.answer}"
        rows.append(Row(name, note, _joined(segments), failed=name == job.party))
    if job.party is not None and all(row.name != job.party for row in rows):
        rows.append(Row(job.party, "refused", (), failed=True))
    return tuple(rows)


def _joined(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Return segments with neighbours of one kind as one."""
    joined: list[Segment] = []
    for segment in segments:
        if joined and joined[-1].kind == segment.kind:
            joined[-1] = replace(joined[-1], end=segment.end)
        else:
            joined.append(segment)
    return tuple(joined)


def _rank(party: Party) -> tuple[int, int, str]:
    """Sort the consumer first, then servers by number, then sources by name."""
    if Duty.OUTPUT in party.duties:
        return 0, 0, party.principal
    if party.party is not None:
        return 1, party.party, party.principal
    return 2, 0, party.principal


def _whole(job: Job) -> Iterator[Segment]:
    begin = 0
    for moment, kind in _UNTIL.items():
        at = _since(job, job.times.get(moment))
        if at is not None:
            yield Segment(kind, begin, max(begin, at))
            begin = max(begin, at)
    end = _end(job)
    if end is not None and job.outcome is not Outcome.DONE and end > begin:
        yield Segment(_next(job), begin, end)


def _next(job: Job) -> str:
    """Return what a job was busy with when it ended without a result."""
    kinds = [kind for moment, kind in _UNTIL.items() if moment not in job.times]
    return kinds[0] if kinds else KINDS[-1]


def _segments(job: Job, party: Party) -> Iterator[Segment]:
    started = _since(job, job.times.get(Moment.STARTED))
    offered = _since(job, job.times.get(Moment.OFFERED)) or 0
    if started is None:
        end = _end(job)
        if end is not None:
            yield Segment("agreeing", offered, max(offered, end))
        return
    yield Segment("agreeing", offered, max(offered, started))
    begin = started
    is_source = party.duties == (Duty.INPUT,)
    last = "input" if is_source else "output"
    for phase, kind in (
        (JobPhase.LINKED, "linking"),
        (JobPhase.RUNNING, "input" if not _is_consumer(party) else "output"),
        (JobPhase.COMPUTED, "computing"),
        (JobPhase.DELIVERED, last),
    ):
        at = _since(job, party.times.get(phase))
        if at is not None:
            yield Segment(kind, begin, max(begin, at))
            begin = max(begin, at)


def _is_consumer(party: Party) -> bool:
    return Duty.OUTPUT in party.duties


def _since(job: Job, when: datetime | None) -> int | None:
    """Return a time as milliseconds since the job was asked for."""
    begin = job.times.get(Moment.REQUESTED)
    if when is None or begin is None:
        return None
    return max(0, (when - begin) // MILLISECOND)


def _end(job: Job) -> int | None:
    """Return when a job had its result, or else was closed."""
    when = job.times.get(Moment.DONE) or job.times.get(Moment.CLOSED)
    return _since(job, when)


def _heading(job: Job) -> Iterator[str]:
    question = f"{job.number}: {job.statistic} of {', '.join(job.columns)}"
    yield text(
        MARGIN, 30, shortened(question, LONGEST_LINE), font_size="17", font_weight="600"
    )
    state = job.outcome.value if job.outcome else f"{job.state}, not over"
    end = _end(job)
    took = f" after {end} ms" if end is not None else ""
    where = f" at {job.party}" if job.party else ""
    why = f": {job.reason}" if job.reason and job.outcome is not Outcome.DONE else ""
    line = f"{job.consumer} asked over {', '.join(job.datasets)}; {state}{took}"
    yield text(MARGIN, 52, shortened(f"{line}{where}{why}", LONGEST_LINE), "quiet")


def _axis(end: int, left: float, scale: float, bottom: float) -> Iterator[str]:
    step = _step(end)
    for at in range(0, end + 1, step):
        x = left + at * scale
        yield element("line", "line-grid", x1=x, x2=x, y1=TOP - 8, y2=bottom)
        yield _small(x, bottom + 16, f"{at:,}".replace(",", " "))
    yield text(
        left + PLOT + 40,
        bottom + 16,
        "ms",
        "quiet",
        font_size=str(SMALL),
        text_anchor="middle",
    )


def _step(end: int) -> int:
    """Return the distance of ticks: 1, 2 or 5 times a power of ten."""
    wanted = max(1, end / TICKS)
    power = 10 ** math.floor(math.log10(wanted))
    return next(int(n * power) for n in (1, 2, 5, 10) if n * power >= wanted)


def _row(row: Row, left: float, y: float, scale: float, last: int) -> Iterator[str]:
    middle = y + ROW / 2
    name = shortened(row.name, LONGEST_NAME)
    look = "bad" if row.failed else "ink"
    yield text(left - 12, middle + 4, name, look, text_anchor="end")
    for segment in row.segments:
        width = max(NARROWEST, (segment.end - segment.begin) * scale)
        tip = f"{row.name}: {segment.kind}, {segment.begin} to {segment.end} ms"
        yield element(
            "rect",
            segment.kind,
            tip,
            x=left + segment.begin * scale,
            y=middle - BAR / 2,
            width=width,
            height=BAR,
            rx=2,
        )
    end = row.segments[-1].end if row.segments else last
    x = left + end * scale + 6
    if row.failed:
        yield _cross(x + 5, middle, f"{row.name}: {row.note}")
        x += 16
    yield text(x, middle + 4, str(end), "quiet", font_size=str(SMALL))


def _cross(x: float, y: float, tip: str) -> str:
    path = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
    return element("path", "line-bad", tip, d=path, stroke_width=2.5)


def _closing(job: Job, left: float, scale: float, bottom: float) -> Iterator[str]:
    """Mark when a job ended without a result."""
    end = _end(job)
    if end is not None and job.outcome not in {None, Outcome.DONE}:
        x = left + end * scale
        yield element(
            "line",
            "line-bad",
            f"{job.outcome} after {end} ms",
            x1=x,
            x2=x,
            y1=TOP - 8,
            y2=bottom,
            stroke_dasharray="4 3",
        )


def _legend(left: float, y: float) -> Iterator[str]:
    x = left
    for kind in KINDS:
        yield element("rect", kind, x=x, y=y - 10, width=12, height=12, rx=2)
        yield text(x + 18, y, kind, "quiet")
        x += 18 + len(kind) * CHARACTER + 22


def _small(x: float, y: float, words: str) -> str:
    return text(x, y, words, "quiet", font_size=str(SMALL), text_anchor="middle")
