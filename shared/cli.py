"""What both programs' command lines share: options, errors, exit codes.

stdout carries the result only; errors go to stderr as ``program: error: …`` and
``program: hint: …``. A command returns nothing, or its own exit code.
"""

import contextlib
import importlib
import importlib.metadata
import logging
import os
import resource
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum, unique
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from shared.errors import (
    AuthenticationError,
    ConfigError,
    FrameworkError,
    JobError,
    RefusedError,
    RemoteProtocolError,
    StoreUnreachableError,
    TransportError,
)
from shared.log import FORMATS, LEVELS
from shared.printable import printable
from shared.suggestion import did_you_mean

DISTRIBUTION = "mpc-management"

_log = logging.getLogger(__name__)

Decorated = TypeVar("Decorated", bound=Callable[..., object])


@unique
class ExitCode(IntEnum):
    """What a program's end says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNREACHABLE = 4
    REFUSED = 5
    INTERNAL = 70
    NOT_READY = 75
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "a job failed, or something that was asked for was not done",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.CONFIGURATION: "a setting, a file or a name is not usable",
    ExitCode.UNREACHABLE: "the broker cannot be reached",
    ExitCode.REFUSED: "refused",
    ExitCode.INTERNAL: "a bug: please report it",
    ExitCode.NOT_READY: "not ready, or running already: try again",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}
"""Of exit codes, where a command does not say it more exactly."""


# The first class that fits counts: RefusedError is a JobError too.
_EXIT_CODES: tuple[tuple[type[FrameworkError], ExitCode], ...] = (
    (ConfigError, ExitCode.CONFIGURATION),
    (TransportError, ExitCode.UNREACHABLE),
    (StoreUnreachableError, ExitCode.UNREACHABLE),
    (RefusedError, ExitCode.REFUSED),
    (AuthenticationError, ExitCode.REFUSED),
    (RemoteProtocolError, ExitCode.REFUSED),
    (JobError, ExitCode.FAILED),
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called.

    A command line starts as fast as the one command needs; only ``--help`` imports
    all of them.

    Args:
        lazy: command name to ``module:attribute``.
    """

    def __init__(self, *, lazy: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of the alphabet."""
        return sorted({*self._lazy, *super().list_commands(ctx)})

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is called; a wrong name is told the nearest one."""
        known = self.list_commands(ctx)
        is_option = args[0].startswith("-")
        if args[0] not in known and not is_option and not ctx.resilient_parsing:
            raise click.NoSuchCommand(args[0], possibilities=known, ctx=ctx)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or none of that name."""
        target = self._lazy.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


def exit_code(error: FrameworkError) -> ExitCode:
    """Return the exit code that an error stands for."""
    for kind, code in _EXIT_CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED


def print_error(program: str, message: str, hint: str | None = None) -> None:
    """Print an error and what to do about it on stderr."""
    say(program, f"error: {message}")
    if hint:
        say(program, f"hint: {hint}")


def say(program: str, text: str) -> None:
    """Print a line for people on stderr; texts of others in it do no harm."""
    click.echo(printable(f"{program}: {text}"), err=True)


def main(command: click.Command, program: str) -> NoReturn:
    """Be a program: run its command line and end the process.

    Keys may come into its memory, so neither it nor what it starts dumps core.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(run(command, program))


def run(
    command: click.Command,
    program: str,
    arguments: Sequence[str] | None = None,
    obj: object = None,
) -> int:
    """Run a program's command line and return its exit code.

    Errors of the framework and of usage are printed. Any other exception is a bug:
    the user gets one line and where to report it, the log at level ``debug`` the
    traceback.

    Args:
        command: the program's group.
        program: its name, as users type it.
        arguments: those of the process unless given.
        obj: what ``click.pass_obj`` hands to commands, unless the group sets it.
    """
    try:
        answer: object = command.main(
            args=None if arguments is None else list(arguments),
            prog_name=program,
            standalone_mode=False,
            obj=obj,
        )
        sys.stdout.flush()
    except FrameworkError as error:
        print_error(program, str(error), error.hint)
        return exit_code(error)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else program
        print_error(program, _sentence(error), _usage_hint(error, path))
        return ExitCode.USAGE
    except click.ClickException as error:
        print_error(program, _sentence(error))
        return ExitCode.USAGE
    except click.Abort as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            return ExitCode.INTERRUPTED
        print_error(program, "not confirmed, nothing was done")
        return ExitCode.FAILED
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return ExitCode.FAILED
    except SystemExit as error:
        # click ends so when the reader of its output has gone.
        return error.code if isinstance(error.code, int) else ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - the one place of a program
        _log.debug("internal error", exc_info=True)
        print_error(
            program,
            f"internal error: {type(error).__name__} in {_place(error)}",
            "this is a bug: please report it with the output of --log-level debug",
        )
        return ExitCode.INTERNAL
    return answer if isinstance(answer, int) else ExitCode.DONE


def _place(error: Exception) -> str:
    """Return file and line where an exception arose, without what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


class MisspeltError(click.UsageError):
    """A name on the command line is none of those that there are.

    Args:
        message: which, and of what.
        name: as it was written.
        known: the names that there are.
    """

    def __init__(self, message: str, name: str, known: Iterable[str]) -> None:
        super().__init__(message)
        self.question = did_you_mean(name, known)


def _usage_hint(error: click.UsageError, path: str) -> str:
    """Return what to do next: the nearest name if there is one, else where to read."""
    see = f"see '{path} --help'"
    if isinstance(error, MisspeltError):
        return error.question or see
    near = None
    if isinstance(error, click.NoSuchCommand | click.NoSuchOption):
        near = error.possibilities
    return f"did you mean {near[0]!r}? {see}" if near else see


def _sentence(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchCommand | click.NoSuchOption):
        text = error.message  # the hint names what is near
    else:
        text = error.format_message()
    text = text.strip().removesuffix(".")
    return text[:1].lower() + text[1:]


def _silence_stdout() -> None:
    # The interpreter flushes once more at its end, and would complain again.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def version() -> str:
    """Return the installed version."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def home_option(command: Decorated) -> Decorated:
    """Add ``--home FOLDER``; the parameter is ``home: Path | None``."""
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="Where keys, state and settings of this identity lie.",
    )(command)


def config_option(command: Decorated) -> Decorated:
    """Add ``--config FILE``; the parameter is ``config: Path | None``."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Settings, instead of the file in the home.",
    )(command)


def log_level_option(command: Decorated) -> Decorated:
    """Add ``--log-level LEVEL``; the parameter is ``log_level: str | None``."""
    return click.option(
        "--log-level",
        type=click.Choice(LEVELS),
        help="The least that is logged, on stderr.",
    )(command)


def log_format_option(command: Decorated) -> Decorated:
    """Add ``--log-format FORM``; the parameter is ``log_format: str | None``."""
    return click.option(
        "--log-format",
        type=click.Choice(FORMATS),
        help="How log lines look; auto: for people on a terminal, else JSON.",
    )(command)


def closing(
    *examples: str, codes: Mapping[int, str] | Mapping[ExitCode, str] | None = None
) -> str:
    """Return the end of a command's help.

    Args:
        examples: command lines, with what they do behind ``#`` where it is not plain.
        codes: exit codes that matter, and what each says.
    """
    title = "Examples" if len(examples) > 1 else "Example"
    parts = ["\n".join(["\b", f"{title}:", *(f"  {line}" for line in examples)])]
    if codes:
        listed = (f"  {code:>3}  {meaning}" for code, meaning in codes.items())
        parts.append("\n".join(["\b", "Exit codes:", *listed]))
    return "\n\n".join(parts)


class JsonOption(click.Option):
    """``--json``, and what it prints.

    Args:
        output: an ``Output`` of ``shared.output``, or a list of one; docs/json.md
            is made from it.
    """

    def __init__(self, *arguments: Any, output: object, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.output = output


def json_output(output: object) -> Callable[[Decorated], Decorated]:
    """Add ``--json``, which prints this; the parameter is ``as_json: bool``."""
    return click.option(
        "--json",
        "as_json",
        cls=JsonOption,
        output=output,
        is_flag=True,
        help="Print JSON, for machines.",
    )


def version_option(command: Decorated) -> Decorated:
    """Add ``--version``; there is no parameter."""

    def show(context: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            click.echo(f"{context.info_name} {version()}")
            context.exit()

    return click.option(
        "--version",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Print the version.",
    )(command)
