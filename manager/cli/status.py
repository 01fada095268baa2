"""``mpc-manager status``: which manager of the realm is active."""

import click

from manager.cli.opening import open_store
from manager.cli.outputs import Turn, turn_output
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.protocol.lease import Lease, is_free
from manager.realm.founding import LOCK_FILE
from manager.realm.private_files import is_locked
from shared.cli import ExitCode, closing, json_output
from shared.output import json_text


@click.command(
    epilog=closing(
        "mpc-manager status",
        codes={
            ExitCode.DONE: "a manager is active",
            ExitCode.NOT_READY: "none is",
        },
    )
)
@json_output(Turn)
@click.pass_obj
def status(settings: ManagerSettings, as_json: bool) -> int:
    """Show which manager is active, since when and in which epoch.

    Managers that share a PostgreSQL store take turns; an epoch is one turn. Without
    such a store the one of this home is meant.
    """
    store = open_store(settings)
    lease, is_active = Lease(), is_locked(settings.home / LOCK_FILE)
    if store.is_shared:
        with store.reading() as unit:
            lease, now = unit.leases.get(), unit.leases.now_ms()
        is_active = not is_free(lease, now)
    turn = turn_output(str(store.place), lease, is_active)
    if as_json:
        click.echo(json_text(turn))
    else:
        click.echo(f"store     {turn.store}, schema {turn.store_schema}")
        click.echo(f"manager   {'active' if turn.active else 'none is active'}")
        if turn.holder is not None:
            click.echo(f"holder    {turn.holder}, epoch {turn.epoch}")
            click.echo(f"since     {shown(turn.since)}")
    return ExitCode.DONE if is_active else ExitCode.NOT_READY
