"""The commands that the documentation shows are commands that there are."""

import re
import shlex
from pathlib import Path

import click
import pytest

from manager.cli.main import manager
from participant.cli.main import participant
from participant.cli.session import prompt_commands
from shared.reference import commands

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS: dict[str, click.Command] = {
    "mpc-manager": manager,
    "mpc-participant": participant,
    "mpc>": prompt_commands,
    "Analytics001>": prompt_commands,
}
PAGES = (
    "docs/errors.md",
    "docs/faq.md",
    "docs/howto.md",
    "docs/tutorial.md",
    "README.md",
    "docs/compose.md",
    "docs/operations.md",
    "docs/deploy.md",
    "docs/settings.md",
    "docs/protocol.md",
    "docs/shell.md",
)

_BLOCK = re.compile(r"^ {4}((?:mpc-manager|mpc-participant) .+)$", re.MULTILINE)
_TYPED = re.compile(r"^((?:mpc|Analytics001)> .+)$", re.MULTILINE)
_INLINE = re.compile(r"`(?:\.venv/bin/)?((?:mpc-manager|mpc-participant) [^`]+)`")


def shown() -> list[tuple[str, str]]:
    """Return every command of the pages, with the page that shows it."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        lines = [*_BLOCK.findall(text), *_INLINE.findall(text)]
        found += [(page, re.split(r" [#<>|] ?| {2,}", line)[0]) for line in lines]
        found += [(page, line) for line in _TYPED.findall(text)]
    return found


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return a command's options by every name that they have."""
    return {
        name: parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def unknown(words: list[str]) -> str | None:
    """Return the first word that the program does not know, if there is one."""
    command = PROGRAMS[words[0]]
    rest = iter(words[1:])
    for word in rest:
        if word.startswith("-") and word != "-":
            option = options_of(command).get(word.partition("=")[0])
            if option is None and word not in {"-h", "--help"}:
                return word
            if option is not None and not option.is_flag and "=" not in word:
                next(rest, None)
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            if found is None:
                return word
            command = found
    return None


def called(words: list[str]) -> str:
    """Return the command that a line calls, without the options in between."""
    command, path = PROGRAMS[words[0]], words[0]
    rest = iter(words[1:])
    for word in rest:
        if not isinstance(command, click.Group):
            break
        option = options_of(command).get(word)
        if option is not None and not option.is_flag:
            next(rest, None)
        found = command.get_command(click.Context(command), word)
        if found is not None:
            command, path = found, f"{path} {word}"
    return path


def examples() -> list[tuple[str, str]]:
    """Return every example in a help text, with the command that shows it."""
    programs = {name: PROGRAMS[name] for name in ("mpc-manager", "mpc-participant")}
    found = []
    for path, context in commands(programs):
        text = context.command.epilog or ""
        lines = re.findall(r"(mpc-(?:manager|participant) [^\n]+)", text)
        found += [(path, re.split(r"\)\"| {1,2}[#<>|] ?", line)[0]) for line in lines]
    return found


@pytest.mark.parametrize(("page", "line"), shown() + examples())
def test_a_documented_command_is_understood(page: str, line: str) -> None:
    """Readers copy these lines."""
    assert (page, unknown(shlex.split(line))) == (page, None)


def test_every_command_shows_how_it_is_called() -> None:
    """Its help ends with an example of itself; groups leave that to their own."""
    calls = {path for path, line in examples() if path == called(shlex.split(line))}
    programs = {name: PROGRAMS[name] for name in ("mpc-manager", "mpc-participant")}
    silent = [
        path
        for path, context in commands(programs)
        if not isinstance(context.command, click.Group)
        and not path.endswith(" completion")
        and path not in calls
    ]

    assert silent == []
