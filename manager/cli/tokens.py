"""``mpc-manager token``: one enrolment token for each participant."""

import json
import secrets
import ssl

import click
from rich.console import Console
from rich.table import Table

from manager.broker.access import broker_access
from manager.cli.opening import open_keys, open_store
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.protocol.registration import TokenStage, TokenState
from manager.service.enrolment import BrokerAddress, TokenRequest, create_token
from manager.store.records import CommandKind
from shared.cli import json_option
from shared.clock import SystemClock, to_ms
from shared.config import parse_duration
from shared.crypto.certificates import spki_hash_of_certificate
from shared.errors import ConfigError, CryptoError, RefusalCode, RefusedError
from shared.names import Io, Role, TokenId


@click.group()
def token() -> None:
    """Make, list and revoke enrolment tokens."""


@token.command()
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help="mpcs computes; client gives data or asks for results.",
)
@click.option(
    "--io",
    type=click.Choice([io.value for io in Io]),
    help="What a client may do.",
)
@click.option("--prefix", help="Of the client's name, such as hospital.")
@click.option("--ttl", default="1h", show_default=True, help="At most 24h.")
@click.option(
    "--count",
    type=click.IntRange(1, 100),
    default=1,
    help="How many, one a line.",
)
@click.pass_obj
def create(
    settings: ManagerSettings,
    role: str,
    io: str | None,
    prefix: str | None,
    ttl: str,
    count: int,
) -> None:
    """Print a new token: it lets one participant register, once.

    Give it to that participant over a channel that nobody else reads.
    """
    request = TokenRequest(
        Role(role), None if io is None else Io(io), prefix, parse_duration(ttl)
    )
    keys, store = open_keys(settings), open_store(settings)
    access = broker_access(settings)
    with access.admin() as admin:
        address = BrokerAddress(access.public_url, _hash_of(access.authority))
        for _ in range(count):
            now = SystemClock().now()
            made = create_token(
                store, keys, admin, address, request, now, secrets.token_bytes
            )
            click.echo(made.text())


@token.command("list")
@json_option
@click.pass_obj
def list_tokens(settings: ManagerSettings, as_json: bool) -> None:
    """List every token and what became of it; secrets are never shown."""
    with open_store(settings).transaction() as unit:
        tokens = unit.people.tokens()
    now = to_ms(SystemClock().now())
    entries = [_entry(state, created, now) for state, created in tokens]
    if as_json:
        click.echo(json.dumps(entries))
        return
    table = Table("token", "role", "io", "prefix", "state", "principal", "expires")
    for entry in entries:
        expires = entry["expires"]
        table.add_row(
            *(str(entry[name] or "") for name in ("token", "role", "io", "prefix")),
            str(entry["state"]),
            str(entry["principal"] or ""),
            shown(expires if isinstance(expires, int) else None),
        )
    Console().print(table)


@token.command()
@click.argument("token_id")
@click.pass_obj
def revoke(settings: ManagerSettings, token_id: str) -> None:
    """Take a token back that nobody has used; TOKEN_ID is as ``list`` shows it."""
    store = open_store(settings)
    with store.transaction() as unit:
        found = [
            state
            for state, _ in unit.people.tokens()
            if state.token_id.hex() == token_id.lower()
        ]
        if not found:
            raise ConfigError(
                f"there is no token {token_id!r}", "see: mpc-manager token list"
            )
        if found[0].stage not in {TokenStage.NEW, TokenStage.CLAIMED}:
            raise RefusedError(
                f"the token is {found[0].stage} already", RefusalCode.PARAMETERS
            )
        unit.orders.add_command(
            CommandKind.REVOKE_TOKEN,
            TokenId(found[0].token_id),
            to_ms(SystemClock().now()),
        )
    click.echo("mpc-manager: the running manager revokes it at once", err=True)


def _entry(state: TokenState, created: int, now: int) -> dict[str, object]:
    is_over = state.stage is TokenStage.NEW and state.expires <= now
    return {
        "token": state.token_id.hex(),
        "role": state.role.value,
        "io": state.io.value if state.io else None,
        "prefix": state.prefix,
        "state": TokenStage.EXPIRED.value if is_over else state.stage.value,
        "principal": state.claim.principal if state.claim else None,
        "created": created,
        "expires": state.expires,
    }


def _hash_of(authority: str | None) -> bytes | None:
    if authority is None:
        return None
    try:
        return spki_hash_of_certificate(ssl.PEM_cert_to_DER_cert(authority))
    except (ValueError, CryptoError) as error:
        raise ConfigError(
            "the broker's authority is not one certificate in PEM",
            "see the setting broker_ca_file (MPC_BROKER_CA_FILE)",
        ) from error
