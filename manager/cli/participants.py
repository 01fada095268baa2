"""``mpc-manager participants``: who is registered, who is online."""

import json

import click
from rich.console import Console
from rich.table import Table

from manager.cli.opening import open_store
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.protocol.presence import Presence
from manager.store.records import PrincipalRecord
from shared.cli import json_option
from shared.errors import ConfigError


@click.group()
def participants() -> None:
    """Show who takes part in the realm."""


@participants.command("list")
@click.option("--online", is_flag=True, help="Only who is online now.")
@json_option
@click.pass_obj
def list_participants(settings: ManagerSettings, online: bool, as_json: bool) -> None:
    """List the registered participants."""
    entries = [entry for entry in _entries(settings) if entry["online"] or not online]
    if as_json:
        click.echo(json.dumps(entries))
        return
    table = Table(
        "principal", "role", "io", "online", "slots", "location", "csp", "last heard"
    )
    for entry in entries:
        attributes = entry["attributes"]
        known = attributes if isinstance(attributes, dict) else {}
        seen = entry["seen"]
        slots = f"{entry['slots_free']}/{entry['slots']}" if entry["slots"] else ""
        table.add_row(
            str(entry["principal"]),
            str(entry["role"]),
            str(entry["io"] or ""),
            "yes" if entry["online"] else "no",
            slots,
            str(known.get("location") or ""),
            str(known.get("csp") or ""),
            shown(seen if isinstance(seen, int) else None),
        )
    Console().print(table)


@participants.command()
@click.argument("name")
@json_option
@click.pass_obj
def show(settings: ManagerSettings, name: str, as_json: bool) -> None:
    """Show one participant: what it is, has and offers."""
    found = [entry for entry in _entries(settings) if entry["principal"] == name]
    if not found:
        raise ConfigError(
            f"nobody is registered as {name!r}", "see: mpc-manager participants list"
        )
    if as_json:
        click.echo(json.dumps(found[0]))
        return
    for key, value in found[0].items():
        is_time = key in {"seen", "registered", "certificate_ends"}
        text = shown(value if isinstance(value, int) else None) if is_time else value
        if isinstance(text, dict | list):
            text = json.dumps(text)
        click.echo(f"{key.replace('_', ' '):<17} {'' if text is None else text}")


def _entries(settings: ManagerSettings) -> list[dict[str, object]]:
    with open_store(settings).transaction() as unit:
        records = unit.people.principals()
        presences = {each.principal: each for each in unit.sessions.presences()}
    return [
        _entry(record, presences.get(record.principal) or Presence(record.principal))
        for record in records
    ]


def _entry(record: PrincipalRecord, presence: Presence) -> dict[str, object]:
    return {
        "principal": record.principal,
        "role": record.role.value,
        "io": record.io.value if record.io else None,
        "standing": record.standing.value,
        "online": presence.is_online,
        "seen": presence.seen or None,
        "slots": presence.slots,
        "slots_free": presence.slots_free,
        "load": presence.load,
        "datasets": [
            {"name": notice.name, "columns": list(notice.cols)}
            for notice in presence.datasets
        ],
        "attributes": record.attributes.model_dump(),
        "registered": record.created,
        "serial": record.serial,
        "certificate_ends": record.cert_ends,
    }
