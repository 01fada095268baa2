"""``mpc-participant shell``: the prompt."""

import asyncio
import shlex
import signal
import sys
from collections.abc import Callable
from functools import partial
from io import TextIOWrapper
from types import FrameType

import click

from participant.cli.app import PROGRAM, App, say
from participant.cli.completion import candidates
from participant.cli.session import NOT_HERE, Session, prompt_commands
from participant.home import secret_file
from shared import token as tokens
from shared.cli import ExitCode, closing, print_error, run
from shared.errors import ConfigError
from shared.suggestion import did_you_mean

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""What ends a prompt from outside."""

ReadLine = Callable[[str], str]
"""From the prompt to the next line; ``EOFError`` behind the last one."""


@click.command(
    epilog=closing("mpc-participant shell", "mpc-participant shell < commands.txt")
)
@click.pass_obj
def shell(app: App) -> int:
    """Work at a prompt: register, connect, runmpc, jobs, result, exit.

    Commands are those of the command line, without the program's name; ``help``
    lists them. After ``connect``, a consumer stays connected until ``exit``. Ctrl-C
    stops waiting for a command and gives the prompt back, Ctrl-D is ``exit``. A
    command that fails prints its error, and the prompt goes on.

    Without a terminal, commands are read from stdin, one a line; empty lines and
    those that begin with '#' are skipped. The exit code is then that of the last
    command that failed, 0 if none did; on a terminal it is 0.
    """
    session = Session(app)
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # as arguments are read
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if app.identity is not None:
        session.use(app.path)
    read = _terminal(session) if is_terminal else _piped
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, partial(_end, session))
    try:
        code = converse(session, read, is_terminal=is_terminal)
    finally:
        asyncio.run(session.close())
    return ExitCode.DONE if is_terminal else code


def converse(session: Session, read: ReadLine, *, is_terminal: bool) -> int:
    """Perform lines until the end and return the last failure's exit code."""
    failed = int(ExitCode.DONE)
    while not session.is_over:
        try:
            code = perform(session, read(session.prompt))
        except EOFError:
            if is_terminal:
                click.echo(err=True)
            break
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        if code == ExitCode.INTERRUPTED:
            if not is_terminal:
                return code
            click.echo(err=True)
        failed = code or failed
    return failed


def perform(session: Session, line: str) -> int:
    """Run one line and return its exit code; errors are printed."""
    if line.lstrip().startswith("#"):
        return ExitCode.DONE
    try:
        words = shlex.split(line)
    except ValueError as error:
        reason = str(error)
        print_error(
            PROGRAM,
            f"{reason[:1].lower()}{reason[1:]}",
            "quote as in a shell: 'two words', or two\\ words",
        )
        return ExitCode.USAGE
    if words[:1] == [PROGRAM]:
        del words[0]  # as hints and the documentation write it
    if not words:
        return ExitCode.DONE
    known = prompt_commands.list_commands(_nowhere())
    if words[0] in known or words[0].startswith("-"):
        return run(prompt_commands, PROGRAM, words, session)
    print_error(PROGRAM, *_unknown(words[0]))
    return ExitCode.USAGE


def _nowhere() -> click.Context:
    return click.Context(prompt_commands)


def _unknown(word: str) -> tuple[str, str]:
    """Return what is wrong with a word that is no command, and what to do."""
    if word.startswith(tokens.MARK):
        return "a token is not a command", "register asks for it, and does not show it"
    if word in NOT_HERE:
        return f"{word!r} is for the command line", NOT_HERE[word]
    near = did_you_mean(word, prompt_commands.list_commands(_nowhere()))
    hint = f"{near} help lists the commands" if near else "help lists the commands"
    return f"there is no command {word!r}", hint


def _terminal(session: Session) -> ReadLine:
    """Prepare the terminal; where several identities are, ask which one."""
    from participant.cli.line_editor import (  # noqa: PLC0415 - it changes stdin
        HISTORY_NAME,
        LineEditor,
    )

    place = session.place
    secret_file.make_folder(place.root)
    editor = LineEditor(
        place.root / HISTORY_NAME, partial(candidates, prompt_commands, session)
    )
    say("help lists the commands, exit leaves")
    try:
        session.path  # noqa: B018 - whether it is clear who is meant
    except ConfigError:
        _choose(session)
    return editor.read


def _choose(session: Session) -> None:
    def chosen(text: str) -> None:
        try:
            session.use(session.place.choose(text))
        except ConfigError as error:
            raise click.UsageError(str(error)) from error

    for known in session.place.identities():
        click.echo(f"  {known.label}", err=True)
    click.prompt("which identity", value_proc=chosen, err=True)


def _piped(_: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _end(session: Session, _number: int, _frame: FrameType | None) -> None:
    """Leave at once, and in good order, when the terminal or the system says so."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)  # once is enough, until the very end
    session.is_over = True
    raise KeyboardInterrupt
