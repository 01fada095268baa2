"""Every field's kind on docs/protocol.md is the type that the code checks."""

import re
import types
import typing
from enum import StrEnum

import pytest
from annotated_types import Ge, Le, Len

from shared.errors import ErrorCode, FailureCode, RefusalCode
from shared.messages import KeyUse, Structure, wire
from shared.messages.job import JobPhase, JobStage, Outcome
from shared.names import Duty, Io, Role
from tests.unit.test_docs import PROTOCOL, section, structures

TEXTS: tuple[tuple[object, str], ...] = (
    (wire.Name, "principal"),
    (wire.Label, "label"),
    (wire.Column, "column"),
    (wire.Address, "address"),
    (wire.Text, "text"),
)
CHOICES: dict[type[StrEnum], str] = {
    Role: "role",
    Io: "io",
    Duty: "duty",
    JobPhase: "phase",
    JobStage: "stage",
    Outcome: "outcome",
    ErrorCode: "error code",
    RefusalCode: "refusal code",
    FailureCode: "failure code",
    KeyUse: "`sig`, `kem` or `ca`",
}
INTEGERS = {
    "time": "0..2^62",
    "count": "0..2^62",
    "small": "0..2^31-1",
    "epoch": "1..2^32-1",
    "serial": "1..2^62",
}

_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]*) \|", re.MULTILINE)


def described(kind: str) -> str:
    """Return a kind of the page with plain numbers and without links."""
    kind = re.sub(r"(, may be absent| or nil)$", "", kind)
    kind = re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", kind)
    for name, span in INTEGERS.items():
        kind = re.sub(rf"\b{name}\b", f"int {span}", kind)
    return re.sub(
        r"2\^(\d+)(-1)?", lambda found: str(2 ** int(found[1]) - bool(found[2])), kind
    )


def checked(hint: object) -> str:
    """Return what a type of the code accepts, in the words of the page."""
    for alias, name in TEXTS:
        if hint == alias:
            return name
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return checked(next(a for a in arguments if a is not types.NoneType))
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is typing.Annotated:
        return _bounded(arguments[0], arguments[1:])
    if isinstance(hint, type) and issubclass(hint, Structure):
        return f"map {hint.__name__}"
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return CHOICES[hint]
    raise AssertionError(f"no word for {hint}")


def _bounded(base: object, marks: tuple[object, ...]) -> str:
    base = getattr(base, "__supertype__", base)
    length = next((m for m in marks if isinstance(m, Len)), None)
    span = f"{length.min_length}..{length.max_length}" if length else ""
    if length is not None and length.min_length == length.max_length:
        span = str(length.min_length)
    if base is bytes or base is str:
        assert length is not None
        return f"{'bin' if base is bytes else 'str'} {span}"
    if base is int:
        least = next(m.ge for m in marks if isinstance(m, Ge))
        most = next(m.le for m in marks if isinstance(m, Le))
        return f"int {least}..{most}"
    if typing.get_origin(base) is tuple:
        assert length is not None
        return f"array {span} of {checked(typing.get_args(base)[0])}"
    if typing.get_origin(base) is dict:
        assert length is not None
        name, value = typing.get_args(base)
        words = (
            "str, int or array of str"
            if value == str | int | list[str]
            else checked(value)
        )
        return f"map of {checked(name)} to {words}, {span} entries"
    return checked(base)


@pytest.mark.parametrize(("heading", "model"), tuple(structures()))
def test_every_field_has_the_type_and_bounds_of_the_page(
    heading: str, model: type[Structure]
) -> None:
    """A reader of the page must refuse what the code refuses."""
    hints = typing.get_type_hints(model, include_extras=True)
    rows = _ROW.findall(section(heading))
    expected = {name: described(kind) for name, kind in rows}

    assert expected == {name: checked(hints[name]) for name, _ in rows}


def test_the_named_integers_are_those_of_the_page() -> None:
    """Their bounds are used above."""
    names, spans = re.findall(
        r"^\| (count, [\w, ]+) \| integers ([^|]+) \|", PROTOCOL, re.MULTILINE
    )[0]
    listed = dict(zip(names.split(", "), spans.strip().split(", "), strict=True))

    assert {**listed, "time": "0..2^62"} == INTEGERS
    assert "| time | integer 0..2^62, ms since the Unix epoch |" in PROTOCOL
