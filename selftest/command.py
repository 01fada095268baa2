"""``mpc-manager selftest``: what was tried, what was expected, what was seen."""

import asyncio
import logging
from collections.abc import Sequence

import click
from rich.table import Table

from manager.broker.access import BrokerAccess, broker_access
from manager.cli.opening import open_keys, open_store
from manager.config import ManagerSettings
from manager.realm.keys import ManagerKeys
from manager.store.records import Standing
from manager.store.store import Store
from participant.home.folder import Home
from participant.service.running import connect
from selftest.at_broker import BrokerAttempts
from selftest.attempt import Attempt, Verdict
from selftest.envelopes import EnvelopeAttempts
from selftest.links import LinkAttempts, targets
from selftest.outputs import AttemptOutput
from selftest.visitor import FOLDER, Visitor, enrolled
from shared.cli import ExitCode, closing, json_output
from shared.errors import TransportError
from shared.output import json_text
from shared.printing import print_table
from shared.topology import inbox

_MARKS = {
    Verdict.HELD: "held",
    Verdict.SURPRISE: "SURPRISE",
    Verdict.NOT_TRIED: "not tried",
}


@click.command(
    epilog=closing(
        "mpc-manager selftest",
        "mpc-manager selftest --json > selftest.json",
        codes={
            ExitCode.DONE: "everything that was tried was refused",
            ExitCode.FAILED: "something was not, or not as it should be",
            ExitCode.UNREACHABLE: "the broker or the manager does not answer",
        },
    )
)
@json_output(list[AttemptOutput])
@click.pass_obj
def selftest(settings: ManagerSettings, as_json: bool) -> int:
    """Attack this realm as a registered participant could, and see it refuse.

    Registers a consumer of its own (its home is the folder selftest in the manager's,
    every run uses it again) and tries what it must not succeed with: at the broker,
    at the manager, and at each MPC server that is logged on and within reach of this
    host. Jobs that run meanwhile are not touched. Ends with 1 at any surprise.
    """
    for name in ("participant", "shared.transport"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what is tried goes wrong
    keys, store = open_keys(settings), open_store(settings)
    home = Home(settings.home / FOLDER)
    made = asyncio.run(_attempts(home, store, keys, broker_access(settings)))
    found = [AttemptOutput.of(attempt) for attempt in made]
    if as_json:
        click.echo(json_text(found))
    else:
        for at in dict.fromkeys(each.at for each in made):
            print_table(_table(at, [each for each in made if each.at == at]))
    surprises = sum(each.verdict is Verdict.SURPRISE for each in made)
    tried = sum(each.verdict is not Verdict.NOT_TRIED for each in made)
    click.echo(f"mpc-manager: {tried} tried, {surprises} surprises", err=True)
    return ExitCode.FAILED if surprises else ExitCode.DONE


def _table(at: str, made: Sequence[Attempt]) -> Table:
    table = Table(f"tried at {at}", "expected", "seen", "")
    for each in made:
        table.add_row(each.tried, each.expected, each.seen, _MARKS[each.verdict])
    return table


async def _attempts(
    home: Home, store: Store, keys: ManagerKeys, access: BrokerAccess
) -> list[Attempt]:
    identity = await enrolled(home, store, keys, access)
    with home.lock():
        transport = connect(identity.broker)
        await transport.connect()
        visitor = Visitor(identity, transport)
        try:
            await transport.consume(visitor.queue)
            await visitor.log_on()
            if not await visitor.is_served():
                raise TransportError(
                    "the manager does not answer an honest question",
                    "see its log, and: mpc-manager status",
                )
            made = await _at_all(visitor, store, access)
            await visitor.log_off()
        finally:
            await transport.close()
    return made


async def _at_all(
    visitor: Visitor, store: Store, access: BrokerAccess
) -> list[Attempt]:
    with store.reading() as unit:
        people = unit.people.principals()
    others = [
        each
        for each in people
        if each.principal != visitor.identity.principal
        and each.standing is Standing.REGISTERED
    ]
    queue, name = "mpcs.MPC_server_001", "MPC_server_001"
    if others:
        name = others[0].principal
        queue = inbox(others[0].principal, others[0].role).name
    made = await BrokerAttempts(visitor, access, queue).run()
    made += await EnvelopeAttempts(visitor, store, name).run()
    attempts = [LinkAttempts(visitor, target).run() for target in targets(store)]
    for at_server in await asyncio.gather(*attempts):
        made += at_server
    return made
