"""The pages of the documentation that are made from the commands themselves.

``python -m shared.reference cli NAME=MODULE:ATTRIBUTE …`` prints docs/cli.md,
``json`` instead of ``cli`` docs/json.md. Tests compare them with what is checked in.
"""

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from textwrap import dedent
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import click
from pydantic import JsonValue

from shared.cli import MEANINGS, JsonOption
from shared.output import Output

Programs = Mapping[str, click.Command]
"""Each program's command, by the name that users type."""

_PLAIN: Final[Mapping[object, str]] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    datetime: "time",
    JsonValue: "any",
    object: "any",
}


_CLI_INTRODUCTION: Final = """\
# Commands

Every command of both programs, as `--help` prints it; made from the code by
`make docs/cli.md`. Results go to stdout, everything else to stderr. What `--json`
prints is in [json.md](json.md), settings are in [settings.md](settings.md), the
prompt in [shell.md](shell.md).
""".splitlines()
_JSON_INTRODUCTION: Final = """\
# JSON

What `--json` prints, for machines; made from the code by `make docs/json.md`. It is
one line on stdout: an object, or a list of objects; of `watch`, one line at every
change. Every field is always there; what is not known is `null`. Releases may add
fields. Times are text in UTC, such as `2026-01-31T12:00:00.000Z`; durations are
numbers with their unit in the name.
""".splitlines()


def commands(programs: Programs) -> Iterator[tuple[str, click.Context]]:
    """Yield every command with the words that call it, groups before their own."""
    for name, program in programs.items():
        root = click.Context(program, info_name=name, **program.context_settings)
        yield from _below(name, root)


def _below(path: str, context: click.Context) -> Iterator[tuple[str, click.Context]]:
    yield path, context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            if command is not None and not command.hidden:
                below = click.Context(command, parent=context, info_name=name)
                yield from _below(f"{path} {name}", below)


def outputs(programs: Programs) -> Iterator[tuple[str, object]]:
    """Yield every command that has ``--json``, with what it prints then."""
    for path, context in commands(programs):
        for parameter in context.command.params:
            if isinstance(parameter, JsonOption):
                yield path, parameter.output


def models(programs: Programs) -> tuple[type[Output], ...]:
    """Return every model that a command prints, each behind those that hold it."""
    found: dict[type[Output], None] = {}
    for _, output in outputs(programs):
        for model in _models_in(output):
            found.setdefault(model)
    return tuple(found)


def described(model: type[Output]) -> Mapping[str, str]:
    """Return what a model's docstring says of each field."""
    _, _, attributes = (inspect.getdoc(model) or "").partition("\nAttributes:\n")
    found = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", attributes, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def cli_page(programs: Programs) -> str:
    """Return docs/cli.md."""
    lines = [
        *_CLI_INTRODUCTION,
        "",
        "| exit code | means |",
        "|---|---|",
        *(f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()),
        "",
        "| command | |",
        "|---|---|",
    ]
    every = tuple(commands(programs))
    for path, context in every:
        if not isinstance(context.command, click.Group):
            what = context.command.get_short_help_str(limit=200)
            lines.append(f"| [`{path}`](#{path.replace(' ', '-')}) | {what} |")
    for path, context in every:
        depth = "##" if context.parent is None else "###"
        lines += ["", f"{depth} {path}", "", *_command(context)]
    return "\n".join(lines) + "\n"


def json_page(programs: Programs) -> str:
    """Return docs/json.md."""
    lines = [
        *_JSON_INTRODUCTION,
        "",
        "| command | prints |",
        "|---|---|",
    ]
    lines += [
        f"| `{path}` | {type_words(output)} |" for path, output in outputs(programs)
    ]
    for model in models(programs):
        summary, _, _ = (inspect.getdoc(model) or "").partition("\n")
        known = described(model)
        lines += ["", f"## {model.__name__}", "", summary, ""]
        lines += ["| field | is | |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {type_words(field.annotation)} | {known.get(name, '')} |"
            for name, field in model.model_fields.items()
        ]
    return "\n".join(lines) + "\n"


def type_words(annotation: Any) -> str:
    """Return a type of Python as a reader of JSON calls it.

    Raises:
        TypeError: no output may have it.
    """
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_words(arguments[0])
    if origin in {Union, UnionType}:
        words = [type_words(each) for each in arguments if each is not NoneType]
        return " or ".join([*words, "null"] if NoneType in arguments else words)
    if origin in {list, tuple}:
        return f"list of {type_words(arguments[0])}"
    if origin is dict:
        return f"map of {type_words(arguments[0])} to {type_words(arguments[1])}"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if isinstance(annotation, type) and issubclass(annotation, Output):
        name = annotation.__name__
        return f"[{name}](#{name.lower()})"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    raise TypeError(f"no words for {annotation!r}")


def _models_in(annotation: Any) -> Iterator[type[Output]]:
    if isinstance(annotation, type) and issubclass(annotation, Output):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models_in(field.annotation)
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _command(context: click.Context) -> Iterator[str]:
    command = context.command
    yield from _text(inspect.cleandoc(command.help or ""))
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("", "```", f"{context.command_path} {usage}".rstrip(), "```")
    records = [
        record
        for parameter in command.get_params(context)
        if (context.parent is None or "--help" not in parameter.opts)
        and (record := parameter.get_help_record(context)) is not None
    ]
    if records:
        yield from ("", "| option | |", "|---|---|")
        for names, what in records:
            words = re.sub(r"\s+", " ", what).replace("|", "\\|")
            option = names.replace("|", "\\|")
            yield f"| `{option}` | {words} |"
    if command.epilog:
        yield from _text(inspect.cleandoc(command.epilog), is_first=False)


def _text(text: str, *, is_first: bool = True) -> Iterator[str]:
    """Yield paragraphs; click's marked ones keep their lines."""
    for paragraph in re.split(r"\n{2,}", text.strip()):
        if not is_first:
            yield ""
        is_first = False
        if paragraph.startswith("\b\n"):
            title, *lines = paragraph.removeprefix("\b\n").splitlines()
            block = dedent("\n".join(lines)).splitlines()
            yield from (title, "", "```", *block, "```")
        else:
            yield from paragraph.splitlines()


def main(arguments: Sequence[str]) -> None:
    """Print the page that the first argument names."""
    page, *named = arguments
    programs = {}
    for text in named:
        name, _, target = text.partition("=")
        module, _, attribute = target.partition(":")
        programs[name] = getattr(importlib.import_module(module), attribute)
    click.echo({"cli": cli_page, "json": json_page}[page](programs), nl=False)


if __name__ == "__main__":
    main(sys.argv[1:])
