"""The pages that are made from the commands are as the commands are."""

from collections.abc import Callable
from pathlib import Path

import pytest

from manager.cli.main import manager
from participant.cli.main import participant
from shared.cli import JsonOption
from shared.output import Output
from shared.reference import (
    Programs,
    cli_page,
    commands,
    described,
    json_page,
    models,
    type_words,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
PROGRAMS = {"mpc-manager": manager, "mpc-participant": participant}


@pytest.mark.parametrize(
    ("page", "made"), [("cli.md", cli_page), ("json.md", json_page)]
)
def test_a_made_page_is_up_to_date(page: str, made: Callable[[Programs], str]) -> None:
    """Whoever changes a command makes the page again."""
    assert made(PROGRAMS) == (DOCS / page).read_text(), f"run: make docs/{page}"


def test_whatever_prints_for_machines_says_what() -> None:
    """A ``--json`` of another kind would be missing in the page."""
    plain = [
        path
        for path, context in commands(PROGRAMS)
        for parameter in context.command.params
        if "--json" in parameter.opts and not isinstance(parameter, JsonOption)
    ]

    assert plain == []


@pytest.mark.parametrize("model", models(PROGRAMS), ids=lambda model: model.__name__)
def test_every_field_is_described(model: type[Output]) -> None:
    """The page has no other source; what is described exists."""
    assert list(described(model)) == list(model.model_fields)


def test_every_model_has_a_heading_of_its_own() -> None:
    """Links lead by name."""
    names = [model.__name__.lower() for model in models(PROGRAMS)]

    assert sorted(set(names)) == sorted(names)


def test_a_type_that_json_has_not_is_no_output() -> None:
    """The generator says so, instead of a page that says nothing."""
    with pytest.raises(TypeError, match="no words"):
        type_words(bytes)


def test_every_command_says_what_it_does() -> None:
    """In one sentence first; lists of commands show that."""
    silent = [
        path
        for path, context in commands(PROGRAMS)
        if not (context.command.help or "").split("\n", 1)[0].endswith(".")
    ]

    assert silent == []
