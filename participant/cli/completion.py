"""What the Tab key offers: commands, options, choices, and what this home knows."""

import asyncio
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import ShellComplete

from participant.cli.app import PROGRAM, App, app_of
from participant.cli.outputs import job_output
from participant.home.folder import Home
from participant.service.job_list import kept_jobs, name_of, running_jobs
from participant.service.local import Answer, NotRunningError
from participant.service.pinning import pins_of
from participant.service.summary import summary
from participant.statistics import registry
from shared.errors import FrameworkError

Offer = Callable[[click.Context, click.Parameter, str], list[str]]

_SPECIAL = re.compile(r"([\s'\"\\])")


def candidates(group: click.Group, app: App, before: str, text: str) -> list[str]:
    """Return how the word at the cursor may go on.

    Args:
        group: the commands.
        app: whose home it is about.
        before: the line in front of the word.
        text: the word as far as it is typed.

    Returns:
        Whole words, each with a space behind it unless it is a folder.
    """
    try:
        words = shlex.split(before)
    except ValueError:  # within a quotation anything may follow
        return []
    if words[:1] == [PROGRAM]:
        del words[0]
    if words and words[0] not in group.list_commands(click.Context(group)):
        return []
    if words and words[-1].startswith("--"):
        words[-1] = words[-1].removesuffix("=")
    shell = ShellComplete(group, {"obj": app}, PROGRAM, "")
    items = shell.get_completions(words, text)
    if not items and not text:
        items = shell.get_completions(words, "--")
    found: list[str] = []
    for item in items:
        if item.type in {"file", "dir"}:
            found += _files(text)
        else:
            found.append(f"{item.value} ")
    return found


def _files(text: str) -> list[str]:
    """Return the paths that begin as typed; hidden ones only when asked for."""
    folder = text[: text.rfind("/") + 1]
    start = text[len(folder) :]
    names = sorted(path.name for path in Path(folder or ".").expanduser().glob("*"))
    return [
        _typed(folder + name)
        for name in names
        if name.startswith(start) and (start or name[0] != ".")
    ]


def _typed(path: str) -> str:
    """Return a path as it is typed; a folder goes on, a file is complete."""
    is_folder = Path(path).expanduser().is_dir()
    return _SPECIAL.sub(r"\\\1", path) + ("/" if is_folder else " ")


def _offer(names: Callable[[App], Iterable[str]]) -> Offer:
    """Return a parameter's completion out of the names that a home knows."""

    def offer(context: click.Context, _: click.Parameter, start: str) -> list[str]:
        try:
            app = context.find_object(App) or _called(context)
            known = dict.fromkeys(names(app))
        except FrameworkError:
            return []  # the command will say what is wrong
        return [name for name in known if name.startswith(start)]

    return offer


def _called(context: click.Context) -> App:
    """Return the call that is being typed; a shell's Tab key runs no command."""
    given = context.find_root().params
    return app_of(given.get("home"), given.get("identity"), given.get("config"))


def _jobs(home: Home) -> list[Answer]:
    if not home.is_registered:
        return []
    try:
        return asyncio.run(running_jobs(home))
    except NotRunningError:
        if home.needs_password:
            return []
        return [summary(job) for job in kept_jobs(home, None)]


def _asked_datasets(app: App) -> Iterable[str]:
    """Yield one's own datasets, then those of earlier jobs."""
    home = app.home()
    yield from home.datasets()
    yield from (str(job["dataset"]) for job in _jobs(home) if job.get("dataset"))


def _asked_columns(app: App) -> Iterable[str]:
    """Yield the columns of earlier jobs."""
    for job in _jobs(app.home()):
        yield from job_output(job).columns


def _pinned(app: App) -> Iterable[str]:
    """Yield whose key is pinned, if that can be known without a password."""
    home = app.registered_home()
    if not home.needs_password:
        for pin in asyncio.run(pins_of(home, lambda: None)):
            yield str(pin["principal"])


own_datasets = _offer(lambda app: app.home().datasets())
asked_datasets = _offer(_asked_datasets)
asked_columns = _offer(_asked_columns)
pinned_names = _offer(_pinned)
job_names = _offer(lambda app: [name_of(job) for job in _jobs(app.home())])
identity_names = _offer(
    lambda app: [
        str(known.principal or known.number) for known in app.place.identities()
    ]
)
statistics = _offer(lambda _: registry.names())
