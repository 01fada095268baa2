"""What the Tab key offers: the names that the store of this home knows."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from manager.cli.opening import open_store
from manager.cli.outputs import job_output
from manager.config import load_settings
from manager.protocol.registration import TokenStage
from manager.store.store import Unit
from shared.errors import FrameworkError
from shared.names import display_number

MOST = 100
"""So many of the newest jobs are offered."""

Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Named = tuple[str, str]
"""A name, and what it names."""


def _offer(names: Callable[[Unit], Iterable[Named]]) -> Offer:
    """Return a parameter's completion out of the names in the store."""

    def offer(
        context: click.Context, _: click.Parameter, start: str
    ) -> list[CompletionItem]:
        given = context.find_root().params
        try:
            settings = load_settings({"home": given.get("home")}, given.get("config"))
            with open_store(settings).reading() as unit:
                known = list(names(unit))
        except FrameworkError:
            return []  # the command will say what is wrong
        return [
            CompletionItem(name, help=what)
            for name, what in known
            if name.casefold().startswith(start.casefold())
        ]

    return offer


def _jobs(unit: Unit) -> Iterable[Named]:
    for state in unit.jobs.latest(MOST):
        job = job_output(state)
        yield job.number, f"{job.statistic}, {job.outcome or job.state}"


def _open_jobs(unit: Unit) -> Iterable[Named]:
    for state in unit.jobs.open():
        yield display_number(state.number), state.stage


def _participants(unit: Unit) -> Iterable[Named]:
    for record in unit.people.principals():
        yield record.principal, record.role


def _new_tokens(unit: Unit) -> Iterable[Named]:
    for state, _ in unit.people.tokens():
        if state.stage in {TokenStage.NEW, TokenStage.CLAIMED}:
            yield state.token_id.hex(), f"{state.role}, {state.stage}"


jobs = _offer(_jobs)
open_jobs = _offer(_open_jobs)
participants = _offer(_participants)
new_tokens = _offer(_new_tokens)
