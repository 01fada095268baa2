"""The parameters of a request for a statistic, as they travel and as they are."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
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

_EDGE: Final = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?")
_KEYS: Final = frozenset({"statistic", "columns", "target", "edges", "fixp", "missing"})


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
    """

    statistic: str
    columns: tuple[str, ...]
    target: str | None = None
    edges: tuple[str, ...] = ()
    fixp: int = DEFAULT_FIXP
    missing: Missing = Missing.REFUSE

    def used(self) -> tuple[str, ...]:
        """Return every column that is read, the target last."""
        return self.columns if self.target is None else (*self.columns, self.target)

    def to_mapping(self) -> dict[str, Value]:
        """Return the parameters as they travel: no floats, no nulls."""
        mapping: dict[str, Value] = {
            "statistic": self.statistic,
            "columns": list(self.columns),
            "fixp": self.fixp,
            "missing": self.missing.value,
        }
        if self.target is not None:
            mapping["target"] = self.target
        if self.edges:
            mapping["edges"] = list(self.edges)
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
    target = mapping.get("target")
    if target is not None and not isinstance(target, str):
        raise refused("parameter 'target' has to be a column's name")
    fixp = mapping.get("fixp", DEFAULT_FIXP)
    if not isinstance(fixp, int) or isinstance(fixp, bool):
        raise refused("parameter 'fixp' has to be a whole number")
    missing = mapping.get("missing", Missing.REFUSE.value)
    if not isinstance(missing, str) or missing not in set(Missing):
        raise refused("parameter 'missing' has to be 'drop' or 'refuse'")
    params = Params(
        statistic=statistic,
        columns=columns,
        target=target,
        edges=_texts(mapping, "edges"),
        fixp=fixp,
        missing=Missing(missing),
    )
    _check_bounds(params)
    return params


def edge_values(params: Params) -> tuple[float, ...]:
    """Return the histogram's edges as the numbers that cells are compared with.

    Raises:
        RefusedError: an edge is no decimal number, or they do not increase.
    """
    for edge in params.edges:
        if not _EDGE.fullmatch(edge):
            raise refused("an edge is not a decimal number, such as -0.5 or 1e3")
    values = tuple(float(edge) for edge in params.edges)
    if any(low >= high for low, high in itertools.pairwise(values)):
        raise refused("the edges have to increase from each to the next")
    return values


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
    if len(params.edges) > MAX_EDGES:
        raise refused(f"{len(params.edges)} edges; there can be up to {MAX_EDGES}")


def _texts(mapping: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = mapping.get(key, () if key == "edges" else None)
    if not isinstance(value, list | tuple):
        raise refused(f"parameter {key!r} has to be a list of texts")
    texts = []
    for item in value:
        if not isinstance(item, str):
            raise refused(f"parameter {key!r} has to be a list of texts")
        texts.append(item)
    return tuple(texts)
