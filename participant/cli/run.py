"""``mpc-participant run``: be there for jobs."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click
import uvloop

from participant.cli.app import App, password_for, password_options, say
from participant.cli.register import enrol, read_token
from participant.home.folder import Home
from participant.service.running import serve_until_signal
from shared import log
from shared.cli import closing


@dataclass(frozen=True, slots=True)
class _Flags:
    """What was said on the command line instead of in the settings."""

    listen: tuple[str, ...]
    advertise: tuple[str, ...]
    slots: int | None

    def given(self) -> dict[str, object]:
        """Return what was said, by the setting's name."""
        flags = {
            "listen": self.listen,
            "advertise": self.advertise,
            "slots": self.slots,
        }
        return {name: value for name, value in flags.items() if value}


@click.command(
    "run",
    epilog=closing(
        "mpc-participant run",
        "mpc-participant run --listen 0.0.0.0:1270 --slots 4",
    ),
)
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    help="Where an MPC server listens; the next free port is taken.",
)
@click.option(
    "--advertise", multiple=True, metavar="HOST[:PORT]", help="Where others reach it."
)
@click.option("--slots", type=click.IntRange(1, 1000), help="Jobs at a time.")
@password_options
@click.pass_obj
def run_participant(
    app: App,
    listen: tuple[str, ...],
    advertise: tuple[str, ...],
    slots: int | None,
    password_file: Path | None,
    password_fd: int | None,
) -> None:
    """Run this participant until Ctrl-C or SIGTERM.

    It reconnects to the broker for as long as it takes, and logs on stderr. Where
    nobody is registered yet, it offers to do so on a terminal.
    """
    home = app.home()
    if not home.is_registered:
        _offer_registration(home)
    settings = app.settings.model_copy(update=_Flags(listen, advertise, slots).given())
    log.configure(settings.log_level, form=settings.log_format)
    password = password_for(home, password_file, password_fd)
    uvloop.run(serve_until_signal(home, settings, password))


def _offer_registration(home: Home) -> None:
    if not sys.stdin.isatty():
        home.check_registered()
    answer = click.prompt(
        f"no information found in {home.path}\nregister new mpcs or client?",
        default="yes",
        err=True,
    )
    if answer.strip().lower() not in {"y", "yes"}:
        raise click.Abort
    identity = enrol(home, read_token(None), None)
    say(f"registered as {identity.principal}")
