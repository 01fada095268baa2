"""``mpc-manager token``: one enrolment token for each participant."""

import secrets
import ssl
from datetime import datetime

import click
from rich.table import Table

from manager.broker.access import broker_access
from manager.cli import completion
from manager.cli.opening import open_keys, open_store
from manager.cli.outputs import NewToken, Token, token_output
from manager.cli.times import shown
from manager.config import ManagerSettings
from manager.protocol.registration import TokenStage
from manager.service.enrolment import BrokerAddress, TokenRequest, create_token
from manager.store.records import CommandKind
from shared import token as tokens
from shared.cli import closing, json_output
from shared.clock import SystemClock, to_ms
from shared.config import parse_duration
from shared.crypto.certificates import spki_hash_of_certificate
from shared.errors import ConfigError, CryptoError, RefusalCode, RefusedError
from shared.names import Io, Role, TokenId
from shared.output import json_text
from shared.printing import print_table


@click.group()
def token() -> None:
    """Make, list and revoke enrolment tokens."""


@token.command(
    epilog=closing(
        "mpc-manager token create --role mpcs > server1.token",
        "mpc-manager token create --role client --io input --prefix Liberty",
    )
)
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
@json_output(list[NewToken])
@click.pass_obj
def create(
    settings: ManagerSettings,
    role: str,
    io: str | None,
    prefix: str | None,
    ttl: str,
    count: int,
    as_json: bool,
) -> None:
    """Print a new token: it lets one participant register, once.

    Give it to that participant over a channel that nobody else reads.
    """
    request = TokenRequest(
        Role(role), None if io is None else Io(io), prefix, parse_duration(ttl)
    )
    keys, store = open_keys(settings), open_store(settings)
    access = broker_access(settings)
    made = []
    with access.admin() as admin:
        address = BrokerAddress(access.public_url, _hash_of(access.authority))
        for _ in range(count):
            now = SystemClock().now()
            token = create_token(
                store, keys, admin, address, request, now, secrets.token_bytes
            )
            made.append(_new(token, now + request.life))
            if not as_json:
                click.echo(token.text())
    if as_json:
        click.echo(json_text(made))


@token.command("list", epilog=closing("mpc-manager token list"))
@json_output(list[Token])
@click.pass_obj
def list_tokens(settings: ManagerSettings, as_json: bool) -> None:
    """List every token and what became of it; secrets are never shown."""
    now = to_ms(SystemClock().now())
    with open_store(settings).reading() as unit:
        found = [token_output(*kept, now) for kept in unit.people.tokens()]
    if as_json:
        click.echo(json_text(found))
        return
    table = Table("token", "role", "io", "prefix", "state", "principal", "expires")
    for each in found:
        table.add_row(
            each.token,
            each.role,
            each.io,
            each.prefix,
            each.state,
            each.principal,
            shown(each.expires),
        )
    print_table(table)


@token.command(
    epilog=closing(
        "mpc-manager token revoke 0123456789abcdef",
        codes={3: "there is no such token", 5: "it was used or taken back already"},
    )
)
@click.argument("token_id", shell_complete=completion.new_tokens)
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


def _new(made: tokens.Token, expires: datetime) -> NewToken:
    return NewToken(
        token=made.token_id.hex(),
        text=made.text(),
        role=made.role,
        io=made.io,
        expires=expires,
    )


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
