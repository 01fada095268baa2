"""``mpc-manager map``: the realm as a picture, with the links that jobs use."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

import click

from manager.cli import svg
from manager.cli.opening import open_store
from manager.cli.outputs import Job, Participant, job_output, participant_output
from manager.cli.svg import CHARACTER, FONT_SIZE, SMALL, document, element, text
from manager.config import ManagerSettings
from manager.protocol.job_state import Moment
from shared.cli import closing
from shared.names import Io, Role

HEADINGS: Final = ("sources", "MPC servers", "consumers")
LOOKED_AT: Final = 500
"""How many of the newest jobs are looked at for links."""

MARGIN, TOP, CARD, GAP, BETWEEN = 24, 96, 44, 18, 190
NARROWEST_CARD = 170
LONGEST_NAME, LONGEST_NOTE = 34, 40
BOTTOM = 64


@dataclass(frozen=True, slots=True)
class Card:
    """A participant in the picture. ``x`` and ``y``: of its upper left corner."""

    name: str
    note: str
    is_online: bool
    column: int
    x: float
    y: float
    width: float


@dataclass(frozen=True, slots=True)
class LinkUse:
    """Which job used a link last, and whether it still does."""

    job: str
    is_running: bool


Links = Mapping[tuple[str, str], LinkUse]
"""Links by their two ends, in the order of the alphabet."""


@click.command("map", epilog=closing("mpc-manager map realm.svg"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def realm_map(settings: ManagerSettings, file: Path) -> None:
    """Draw the realm as an SVG picture: who there is, and which links jobs use.

    FILE is replaced if it exists; '-' is stdout. Thick lines are links of jobs that
    run, thin ones were used before; each says by which job.
    """
    with open_store(settings).reading() as unit:
        presences = {each.principal: each for each in unit.sessions.presences()}
        everybody = [
            participant_output(record, presences.get(record.principal))
            for record in unit.people.principals()
        ]
        jobs = [job_output(state) for state in unit.jobs.latest(LOOKED_AT)]
    svg.write(file, picture(settings.realm, everybody, jobs))


def picture(realm: str, everybody: Sequence[Participant], jobs: Sequence[Job]) -> str:
    """Return the picture.

    Args:
        realm: its name.
        everybody: in the order in which they are drawn.
        jobs: newest first.
    """
    cards = {card.name: card for card in _cards(everybody)}
    used = {
        ends: use
        for ends, use in links(jobs).items()
        if ends[0] in cards and ends[1] in cards
    }
    running = sum(use.is_running for use in used.values())
    right = max((card.x + card.width for card in cards.values()), default=400)
    bottom = max((card.y + CARD for card in cards.values()), default=TOP)
    online = sum(each.online for each in everybody)
    parts = [
        text(MARGIN, 30, f"realm {realm}", font_size="17", font_weight="600"),
        text(
            MARGIN,
            52,
            f"{online} of {len(everybody)} online; {running} links in use,"
            f" {len(used) - running} used before",
            "quiet",
        ),
        *_headings(cards.values()),
        *(
            _line(cards[one], cards[other], use)
            for (one, other), use in sorted(
                used.items(), key=lambda entry: (entry[1].is_running, entry[0])
            )
        ),
        *(part for card in cards.values() for part in _card(card)),
        *_legend(bottom + 40),
    ]
    return document(
        max(right, 460) + MARGIN, bottom + BOTTOM, f"Map of realm {realm}", parts
    )


def links(jobs: Sequence[Job]) -> Links:
    """Return the links between parties of jobs that started, each with its last use.

    Every client has links to every MPC server of its job, and these to each other.

    Args:
        jobs: newest first.
    """
    found: dict[tuple[str, str], LinkUse] = {}
    for job in jobs:
        if Moment.STARTED not in job.times:
            continue
        use = LinkUse(job.number, is_running=job.outcome is None)
        for one, other in combinations(job.parties, 2):
            if Role.MPCS in {one.role, other.role}:
                low, high = sorted((one.principal, other.principal))
                known = found.get((low, high))
                if known is None or (use.is_running and not known.is_running):
                    found[low, high] = use
    return found


def _cards(everybody: Sequence[Participant]) -> Iterator[Card]:
    columns: tuple[list[Participant], ...] = ([], [], [])
    for each in everybody:
        columns[_column(each)].append(each)
    tallest = max(map(len, columns))
    x: float = MARGIN
    for number, column in enumerate(columns):
        longest = max((len(_name(each)) for each in column), default=0)
        notes = max((len(_note(each)) for each in column), default=0)
        width = max(
            NARROWEST_CARD,
            longest * CHARACTER + 44,
            notes * CHARACTER * SMALL / FONT_SIZE + 44,
        )
        y = TOP + (tallest - len(column)) * (CARD + GAP) / 2
        for each in column:
            name = each.principal
            yield Card(name, _note(each), each.online, number, x, y, width)
            y += CARD + GAP
        x += width + BETWEEN


def _column(each: Participant) -> int:
    if each.role is Role.MPCS:
        return 1
    return 0 if each.io is Io.INPUT else 2


def _name(each: Participant) -> str:
    return svg.shortened(each.principal, LONGEST_NAME)


def _note(each: Participant) -> str:
    """Return what stands below a name: where a server is, what a source offers."""
    said = each.attributes
    if each.role is Role.MPCS:
        words = [word for word in (said.operator, said.location, said.csp) if word]
    else:
        words = [dataset.name for dataset in each.datasets]
    if each.io is Io.BOTH:
        words = ["source too", *words]
    return svg.shortened(", ".join(words), LONGEST_NOTE)


def _headings(cards: Iterable[Card]) -> Iterator[str]:
    places = {card.column: card.x for card in cards}
    for column, x in places.items():
        yield text(x, TOP - 14, HEADINGS[column], "quiet")


def _line(one: Card, other: Card, use: LinkUse) -> str:
    if one.column > other.column:
        one, other = other, one
    look, width = ("line-good", 2.5) if use.is_running else ("line-agreeing", 1.0)
    begin, end = one.y + CARD / 2, other.y + CARD / 2
    left, right = one.x + one.width, other.x
    if one.column == other.column:
        right = left
        bend = left + 18 + abs(end - begin) / 4
    else:
        bend = (left + right) / 2
    points = ((left, begin), (bend, begin), (bend, end), (right, end))
    first, *curve = (f"{svg.number(x)} {svg.number(y)}" for x, y in points)
    path = f"M{first}C{' '.join(curve)}"
    when = "in use by" if use.is_running else "last used by"
    tip = f"{one.name} and {other.name}: {when} {use.job}"
    return element("path", look, tip, d=path, stroke_width=width)


def _card(card: Card) -> Iterator[str]:
    yield element(
        "rect", "card", x=card.x, y=card.y, width=card.width, height=CARD, rx=6
    )
    yield element(
        "rect",
        "line-grid",
        f"{card.name}: {'online' if card.is_online else 'offline'}",
        x=card.x,
        y=card.y,
        width=card.width,
        height=CARD,
        rx=6,
    )
    dot = "good" if card.is_online else "line-quiet"
    yield element("circle", dot, cx=card.x + 18, cy=card.y + CARD / 2, r=5)
    name = svg.shortened(card.name, LONGEST_NAME)
    y = card.y + CARD / 2 + (-2 if card.note else 5)
    yield text(card.x + 32, y, name)
    if card.note:
        yield text(card.x + 32, y + 15, card.note, "quiet", font_size=str(SMALL))


def _legend(y: float) -> Iterator[str]:
    x: float = MARGIN
    for look, width, words in (
        ("line-good", 2.5, "link in use"),
        ("line-agreeing", 1.0, "used before"),
    ):
        yield element(
            "line", look, x1=x, x2=x + 28, y1=y - 4, y2=y - 4, stroke_width=width
        )
        yield text(x + 36, y, words, "quiet")
        x += 36 + len(words) * CHARACTER + 22
    for look, words in (("good", "online"), ("line-quiet", "offline")):
        yield element("circle", look, cx=x + 5, cy=y - 4, r=5)
        yield text(x + 18, y, words, "quiet")
        x += 18 + len(words) * CHARACTER + 22
