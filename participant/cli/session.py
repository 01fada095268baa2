"""What a prompt remembers between two commands, and the commands only it has."""

import asyncio
from pathlib import Path

import click

from participant.cli.app import PROGRAM, App, password_for, password_options, say
from participant.cli.completion import identity_names
from participant.cli.main import COMMANDS
from participant.home.folder import Home
from participant.service.background import Background, connected
from participant.service.local import Answer
from participant.service.running import is_running
from shared.cli import LazyGroup
from shared.errors import ConfigError
from shared.names import Io

NOBODY = "mpc"
"""Who is at the prompt as long as nobody is known."""
NOT_HERE = {
    "run": "connect stays connected here; help lists the commands",
    "shell": "this is the prompt; help lists the commands",
    "completion": "the Tab key completes here",
}
"""Commands of the program that a prompt has no use for, and why."""


class Session(App):
    """A prompt: one identity at a time, connected or not.

    ``is_over``: somebody wants to leave.
    """

    def __init__(self, app: App) -> None:
        super().__init__(app.place, None, app.config, app.log_flags)
        self.is_over = False
        self._started: list[Background] = []

    @property
    def prompt(self) -> str:
        """What stands before the line that is typed."""
        return f"{self._name() or NOBODY}> "

    def next_step(self, io: Io | None) -> str:  # noqa: ARG002 - the same for all
        """Return what somebody who has just registered does at a prompt."""
        return "connect"

    async def connect(self, home: Home, password: bytes | None) -> Answer:
        """Have a control process that is logged on; return its status.

        Raises:
            FrameworkError: it cannot log on; what was started here has ended.
        """
        arguments = self.log_flags.arguments()
        if self.config is not None:
            arguments += ["--config", str(self.config)]
        status, started = await connected(home, arguments, password)
        if started is not None:
            self._started.append(started)
        return status

    async def close(self) -> None:
        """End the control processes that this prompt has started."""
        while self._started:
            await self._started.pop().end()

    def _name(self) -> str | None:
        try:
            path = self.path
        except ConfigError:
            return None
        known = {each.path: each.principal for each in self.place.identities()}
        return known.get(path)


@click.command()
@click.argument("identity", required=False, shell_complete=identity_names)
@password_options
@click.pass_obj
def connect(
    session: Session,
    identity: str | None,
    password_file: Path | None,
    password_fd: int | None,
) -> None:
    """Log on and stay connected until ``exit``.

    IDENTITY is a name or number of ``identities``, where there are several. The
    commands that follow use this connection. One that ``mpc-participant run`` or
    another prompt holds is used too, and left as it is.
    """
    if identity is not None:
        session.use(session.place.choose(identity))
    home = session.registered_home()
    password = None
    if not asyncio.run(is_running(home)):
        password = password_for(home, password_file, password_fd)
        if password is not None:
            home.key_file(password).load()  # a wrong one is told at once
    status = asyncio.run(session.connect(home, password))
    who, realm = str(status.get("principal")), str(status.get("realm"))
    say(f"{who} is connected to realm {realm}")


@click.command("exit")
@click.pass_obj
def leave(session: Session) -> None:
    """Leave the prompt; what ``connect`` started ends."""
    session.is_over = True


def _command_names(context: click.Context, _: click.Parameter, start: str) -> list[str]:
    names = prompt_commands.list_commands(context)
    return [name for name in names if name.startswith(start)]


@click.command("help")
@click.argument("command", nargs=-1, shell_complete=_command_names)
@click.pass_context
def show_help(context: click.Context, command: tuple[str, ...]) -> None:
    """List the commands, or tell about one."""
    above = context.parent or context
    found: click.Command = prompt_commands
    for word in command:
        below = (
            found.get_command(above, word) if isinstance(found, click.Group) else None
        )
        if below is None:
            raise click.UsageError(f"there is no command {' '.join(command)!r}", above)
        found, above = below, click.Context(below, parent=above, info_name=word)
    click.echo(found.get_help(above))


prompt_commands = LazyGroup(
    lazy={name: COMMANDS[name] for name in COMMANDS if name not in NOT_HERE},
    name=PROGRAM,
    help="Every command takes the words and options that it has on the command line.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _own in (connect, leave, show_help):
    prompt_commands.add_command(_own)
