"""``mpc-manager watch``: the realm as it is now."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from types import FrameType

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from manager.cli.jobs import standing
from manager.cli.opening import open_store
from manager.cli.outputs import Job, Snapshot, job_output, participant_output
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.protocol.job_state import Moment
from manager.store.store import Store
from shared.cli import closing, json_output
from shared.clock import Clock, SystemClock
from shared.messages import Outcome
from shared.output import json_text
from shared.printing import console, print_table

POLL = timedelta(seconds=0.5)
"""How often the store is asked whether something has changed."""
ENDED = 8
"""How many jobs are shown that are over."""
WIDEST_QUESTION = 32
"""Characters of what a job asks."""
GRACE = timedelta(seconds=15)
"""How long beyond its time a running manager may take to find somebody silent."""
LONGEST = timedelta(seconds=2)
"""How old a view becomes, even if nothing has changed."""
_STYLES = {"done": "green", "failed": "red", "cancelled": "yellow", "expired": "red"}


@click.command(
    epilog=closing(
        "mpc-manager watch",
        "mpc-manager watch --once",
        "mpc-manager watch --json",
        codes={0: "it was told to end, by Ctrl-C or SIGTERM"},
    )
)
@click.option("--once", is_flag=True, help="Print how it is now, and end.")
@json_output(Snapshot)
@click.pass_obj
def watch(settings: ManagerSettings, once: bool, as_json: bool) -> None:
    """Watch the realm: who is online, which jobs run, which ended last.

    On a terminal the view is kept up to date until Ctrl-C. Elsewhere, and with
    ``--json``, a snapshot is printed at every change. It reads the store of this
    home and holds nobody up; whether the manager runs is another matter, and the
    view says so if it seems not to.
    """
    store = open_store(settings)
    take = partial(look, store, settings, SystemClock())
    if once:
        _print(take(), as_json)
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        screen = console()
        if as_json or not screen.is_terminal or screen.is_dumb_terminal:
            follow(_looks(store, take), as_json)
        else:
            live(_looks(store, take), screen)
    except KeyboardInterrupt:
        return  # as with ``run``, that is how it ends
    finally:
        store.close()


def look(store: Store, settings: ManagerSettings, clock: Clock) -> Snapshot:
    """Return how the realm is now.

    Raises:
        StoreError: the store cannot be read.
    """
    with store.reading() as unit:
        records = unit.people.principals()
        presences = {each.principal: each for each in unit.sessions.presences()}
        running = unit.jobs.open()
        ended = unit.jobs.closed_since(0, ENDED)
    now = clock.now()
    everybody = (
        participant_output(record, presences.get(record.principal))
        for record in records
    )
    online = tuple(each for each in everybody if each.online)
    heard = [each.seen for each in online if each.seen is not None]
    return Snapshot(
        realm=settings.realm,
        at=now,
        participants=online,
        registered=len(records),
        running=tuple(map(job_output, running)),
        ended=tuple(map(job_output, ended)),
        # A running manager takes whoever is silent for longer for offline.
        is_stale=any(now - seen > settings.presence_timeout + GRACE for seen in heard),
    )


def picture(snapshot: Snapshot) -> RenderableType:
    """Return a snapshot for people."""
    parts: list[RenderableType] = [_heading(snapshot)]
    if snapshot.running:
        parts.append(_running(snapshot.running, snapshot.at))
    if snapshot.ended:
        parts.append(_ended(snapshot.ended))
    if snapshot.participants:
        parts.append(_online(snapshot))
    return Group(*parts)


def _heading(snapshot: Snapshot) -> Text:
    text = Text.assemble(
        (f"realm {snapshot.realm}", "bold"),
        f"  {shown(snapshot.at)}  {len(snapshot.participants)} of"
        f" {snapshot.registered} online, {len(snapshot.running)} running",
    )
    if snapshot.is_stale:
        text.append("\nnobody was heard for long: does mpc-manager run?", "red")
    return text


def _running(jobs: tuple[Job, ...], now: datetime) -> Table:
    table = _table("running", "state", "parties", "s", last="waits")
    for job in jobs:
        since = job.times.get(Moment.REQUESTED)
        table.add_row(
            *_named(job),
            Text(standing(job), "cyan"),
            _phases(job),
            "" if since is None else str(max(0, int((now - since).total_seconds()))),
            job.reason,
        )
    return table


def _ended(jobs: tuple[Job, ...]) -> Table:
    table = _table("ended last", "outcome", "ms", last="why")
    for job in jobs:
        outcome = job.outcome or ""
        is_done = job.outcome is Outcome.DONE
        why = "" if is_done else f"{job.reason or ''} ({job.code})"
        table.add_row(
            *_named(job), Text(outcome, _STYLES.get(outcome, "")), _took(job), why
        )
    return table


def _online(snapshot: Snapshot) -> Table:
    table = Table(title="online", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("principal", "role", "io", "free slots", "last heard"):
        table.add_column(heading, no_wrap=True)
    table.add_column("offers", overflow="fold")
    for each in snapshot.participants:
        table.add_row(
            each.principal,
            each.role,
            each.io,
            f"{each.slots_free} of {each.slots}" if each.slots else "",
            shown(each.seen),
            ", ".join(dataset.name for dataset in each.datasets),
        )
    return table


def _table(title: str, *columns: str, last: str) -> Table:
    """Return a table of jobs; its first columns are those of ``_named``."""
    table = Table("job", title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("consumer", no_wrap=True)
    table.add_column("asks", no_wrap=True, max_width=WIDEST_QUESTION)
    for heading in columns:
        table.add_column(heading)
    table.add_column(last, overflow="fold")
    return table


def _named(job: Job) -> tuple[str, str, str]:
    return job.number, job.consumer, _question(job)


def _question(job: Job) -> str:
    return f"{job.statistic} of {', '.join(job.columns)}"


def _phases(job: Job) -> str:
    """Return how many parties are how far."""
    far = Counter(str(party.phase or party.answer) for party in job.parties)
    return ", ".join(f"{count} {name}" for name, count in far.items())


def _took(job: Job) -> str:
    begin, end = job.times.get(Moment.REQUESTED), job.times.get(Moment.DONE)
    if begin is None or end is None:
        return ""
    return str((end - begin) // timedelta(milliseconds=1))


def _print(snapshot: Snapshot, as_json: bool) -> None:
    if as_json:
        click.echo(json_text(snapshot))
    else:
        print_table(picture(snapshot))


def _looks(store: Store, take: Callable[[], Snapshot]) -> Iterator[Snapshot]:
    """Yield a snapshot whenever the store has changed, and now and then."""
    version, looked = None, 0.0
    while True:
        now = store.version()
        if now != version or time.monotonic() - looked > LONGEST.total_seconds():
            version, looked = now, time.monotonic()
            yield take()
        time.sleep(POLL.total_seconds())


def follow(snapshots: Iterable[Snapshot], as_json: bool) -> None:
    """Print a snapshot, and another one whenever something has changed."""
    told: Snapshot | None = None
    for snapshot in snapshots:
        news = _without_pulse(snapshot)
        if told is None or news != told:
            told = news
            _print(snapshot, as_json)


def _without_pulse(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without what changes at every sign of life."""
    calm = tuple(
        each.model_copy(update={"seen": None, "load": 0})
        for each in snapshot.participants
    )
    return snapshot.model_copy(update={"at": None, "participants": calm})


def live(snapshots: Iterable[Snapshot], screen: Console) -> None:
    """Keep a view up to date."""
    with Live(console=screen, auto_refresh=False) as view:
        for snapshot in snapshots:
            view.update(picture(snapshot), refresh=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
