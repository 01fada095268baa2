"""The parameters of a request for a statistic, as they travel and as they are."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, unique
from fractions import Fraction
from typing import Final

from participant.columns import Missing
from shared.codec import Value
from shared.errors import RefusalCode, RefusedError
from shared.names import is_label

MIN_FIXP: Final = 4
MAX_FIXP: Final = 32
DEFAULT_FIXP: Final = 16
"""Fractional bits that a request names; see ``exact`` for the guard bits."""
MAX_COLUMNS: Final = 32
MAX_EDGES: Final = 4096
"""As many as an array on the wire may have."""

_DECIMAL: Final = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?")
_QUANTILE: Final = re.compile(r"0|1|1\.0{1,6}|0?\.[0-9]{1,6}")
_TEXTS: Final = ("target", "by", "q")
_LISTS: Final = ("edges", "groups")
_KEYS: Final = frozenset(
    {"statistic", "columns", "fixp", "missing", "reveal", *_TEXTS, *_LISTS}
)


@unique
class Reveal(StrEnum):
    """What the consumer gets to see of a computation."""

    SUMS = "sums"
    FINAL = "final"


@dataclass(frozen=True, slots=True)
class Params:
    """What is asked of the data.

    Attributes:
        statistic: its name, as in the registry.
        columns: the columns in order; a regression's predictors.
        target: the column that a regression explains.
        edges: a histogram's edges, increasing, as decimal texts.
        fixp: fractional bits of the result's resolution.
        missing: what happens to rows with gaps.
        q: a quantile, a decimal text from 0 to 1.
        by: the column that says to which group a row belongs.
        groups: values of ``by``, as decimal texts.
        reveal: sums of which the consumer computes the figures, or these alone.
    """

    statistic: str
    columns: tuple[str, ...]
    target: str | None = None
    edges: tuple[str, ...] = ()
    fixp: int = DEFAULT_FIXP
    missing: Missing = Missing.REFUSE
    q: str | None = None
    by: str | None = None
    groups: tuple[str, ...] = ()
    reveal: Reveal = Reveal.SUMS

    def used(self) -> tuple[str, ...]:
        """Return every column that is read, the target or the groups' last."""
        return self.columns + tuple(
            name for name in (self.target, self.by) if name is not None
        )

    def to_mapping(self) -> dict[str, Value]:
        """Return the parameters as they travel: no floats, no nulls."""
        mapping: dict[str, Value] = {
            "statistic": self.statistic,
            "columns": list(self.columns),
            "fixp": self.fixp,
            "missing": self.missing.value,
        }
        texts = {"target": self.target, "by": self.by, "q": self.q}
        mapping |= {key: text for key, text in texts.items() if text is not None}
        lists = {"edges": self.edges, "groups": self.groups}
        mapping |= {key: list(items) for key, items in lists.items() if items}
        if self.reveal is not Reveal.SUMS:
            mapping["reveal"] = self.reveal.value
        return mapping


def parse_params(mapping: Mapping[str, object]) -> Params:
    """Return the parameters in a mapping that ``to_mapping`` could have made.

    ``statistic`` and ``columns`` have to be there. Whether the statistic can
    be asked so is for its ``check`` to say.

    Raises:
        RefusedError: something is unknown, absent, of another type or out of
            bounds.
    """
    unknown = sorted(set(mapping) - _KEYS)
    if unknown:
        raise refused(f"unknown parameter {unknown[0]!r}")
    statistic = mapping.get("statistic")
    if not isinstance(statistic, str):
        raise refused("parameter 'statistic' has to be a text")
    columns = _texts(mapping, "columns")
    fixp = mapping.get("fixp", DEFAULT_FIXP)
    if not isinstance(fixp, int) or isinstance(fixp, bool):
        raise refused("parameter 'fixp' has to be a whole number")
    missing = mapping.get("missing", Missing.REFUSE.value)
    if not isinstance(missing, str) or missing not in set(Missing):
        raise refused("parameter 'missing' has to be 'drop' or 'refuse'")
    reveal = mapping.get("reveal", Reveal.SUMS.value)
    if not isinstance(reveal, str) or reveal not in set(Reveal):
        raise refused("parameter 'reveal' has to be 'sums' or 'final'")
    params = Params(
        statistic=statistic,
        columns=columns,
        target=_text(mapping, "target"),
        edges=_texts(mapping, "edges"),
        fixp=fixp,
        missing=Missing(missing),
        q=_text(mapping, "q"),
        by=_text(mapping, "by"),
        groups=_texts(mapping, "groups"),
        reveal=Reveal(reveal),
    )
    _check_bounds(params)
    return params


def edge_values(params: Params) -> tuple[float, ...]:
    """Return the histogram's edges as the numbers that cells are compared with.

    Raises:
        RefusedError: an edge is no decimal number, or they do not increase.
    """
    values = _decimals(params.edges, "an edge")
    if any(low >= high for low, high in itertools.pairwise(values)):
        raise refused("the edges have to increase from each to the next")
    return values


def group_values(params: Params) -> tuple[float, ...]:
    """Return the groups as the numbers that cells are compared with.

    Raises:
        RefusedError: a group is no decimal number, or is named twice.
    """
    values = _decimals(params.groups, "a group")
    if len(set(values)) != len(values):
        raise refused("a group is named twice")
    return values


def quantile_fraction(params: Params) -> tuple[int, int]:
    """Return numerator and denominator of the quantile that is asked for.

    Raises:
        RefusedError: it is no decimal number from 0 to 1, or has too many digits.
    """
    if params.q is None or not _QUANTILE.fullmatch(params.q):
        raise refused("q has to be a decimal number from 0 to 1 with at most 6 digits")
    exact = Fraction(params.q)
    return exact.numerator, exact.denominator


def refused(message: str) -> RefusedError:
    """Return the refusal of a request for its parameters."""
    return RefusedError(message, RefusalCode.PARAMETERS)


def _check_bounds(params: Params) -> None:
    """Check what holds for every statistic."""
    if not MIN_FIXP <= params.fixp <= MAX_FIXP:
        raise refused(
            f"fixp is {params.fixp}; it has to be {MIN_FIXP} to {MAX_FIXP}"
            " fractional bits"
        )
    used = params.used()
    if not all(is_label(name) for name in used):
        raise refused(
            "a column's name has 1 to 64 letters, digits, '_', '.' or '-', and"
            " starts with a letter or '_'"
        )
    if len(set(used)) != len(used):
        raise refused("a column is named twice")
    if len(params.columns) > MAX_COLUMNS:
        raise refused(
            f"{len(params.columns)} columns; at most {MAX_COLUMNS} can be asked for"
        )
    for what, texts in (("edges", params.edges), ("groups", params.groups)):
        if len(texts) > MAX_EDGES:
            raise refused(f"{len(texts)} {what}; there can be up to {MAX_EDGES}")


def _decimals(texts: tuple[str, ...], what: str) -> tuple[float, ...]:
    if not all(_DECIMAL.fullmatch(text) for text in texts):
        raise refused(f"{what} is not a decimal number, such as -0.5 or 1e3")
    return tuple(float(text) for text in texts)


def _text(mapping: Mapping[str, object], key: str) -> str | None:
    value = mapping.get(key)
    if value is not None and not isinstance(value, str):
        raise refused(f"parameter {key!r} has to be a text")
    return value


def _texts(mapping: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = mapping.get(key, () if key in _LISTS else None)
    if not isinstance(value, list | tuple):
        raise refused(f"parameter {key!r} has to be a list of texts")
    texts = []
    for item in value:
        if not isinstance(item, str):
            raise refused(f"parameter {key!r} has to be a list of texts")
        texts.append(item)
    return tuple(texts)
