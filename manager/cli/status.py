"""``mpc-manager status``: which manager of the realm is active."""

import json

import click

from manager.cli.opening import open_store
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.protocol.lease import Lease, is_free
from manager.realm.founding import LOCK_FILE
from manager.realm.private_files import is_locked
from manager.store.schema import SCHEMA_VERSION
from shared.cli import ExitCode, json_option


@click.command()
@json_option
@click.pass_obj
def status(settings: ManagerSettings, as_json: bool) -> int:
    """Show which manager is active, since when and in which epoch.

    Managers that share a PostgreSQL store take turns; an epoch is one turn. Without
    such a store the one of this home is meant. Ends with 75 if none is active.
    """
    store = open_store(settings)
    lease, is_active = Lease(), is_locked(settings.home / LOCK_FILE)
    if store.is_shared:
        with store.reading() as unit:
            lease, now = unit.leases.get(), unit.leases.now_ms()
        is_active = not is_free(lease, now)
    if as_json:
        entry = {
            "store": str(store.place),
            "schema": SCHEMA_VERSION,
            "active": is_active,
            "holder": lease.holder or None,
            "since": lease.since or None,
            "epoch": lease.epoch or None,
        }
        click.echo(json.dumps(entry))
    else:
        click.echo(f"store     {store.place}, schema {SCHEMA_VERSION}")
        click.echo(f"manager   {'active' if is_active else 'none is active'}")
        if lease.holder:
            click.echo(f"holder    {lease.holder}, epoch {lease.epoch}")
            click.echo(f"since     {shown(lease.since)}")
    return ExitCode.DONE if is_active else ExitCode.NOT_READY
