"""From a job's summary and the file of its result to the result as an object."""

from collections.abc import Callable, Mapping
from typing import Final, TypedDict

import numpy as np

from participant.sdk.results import (
    Count,
    Figure,
    Histogram,
    LargestGroup,
    Matrix,
    PerColumn,
    Regression,
    Result,
)
from participant.service.job_list import damaged, name_of, read_figures
from participant.service.local import Answer


def make_result(answer: Answer) -> Result:
    """Return the result of a job that is done.

    Raises:
        ConfigError: the result's file is gone or damaged.
    """
    figures = read_figures(answer)
    try:
        return _MAKERS[str(answer.get("statistic"))](_known(answer, figures))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise damaged(answer) from error


class _Known(TypedDict):
    """What every result has, as ``Result`` names it."""

    job: str
    id: str
    statistic: str
    dataset: str
    columns: tuple[str, ...]
    sources: int
    servers: int
    rows: int | None
    note: str | None
    times_ms: Mapping[str, int]
    figures: Mapping[str, object]


# What a file holds is checked by taking it apart; ``make_result`` names the errors.


def _known(answer: Answer, figures: Mapping[str, object]) -> _Known:
    rows, note = figures.get("n"), figures.get("note")
    times = _map(answer["times_ms"])
    return _Known(
        job=name_of(answer),
        id=str(answer["id"]),
        statistic=str(answer["statistic"]),
        dataset=str(answer["dataset"]),
        columns=tuple(map(str, _list(answer["columns"]))),
        sources=_whole(answer["sources"]),
        servers=_whole(answer["servers"]),
        rows=None if rows is None else _whole(rows),
        note=None if note is None else str(note),
        times_ms={name: _whole(times[name]) for name in times},
        figures=figures,
    )


def _count(known: _Known) -> Result:
    return Count(**known, count=_whole(known["figures"]["count"]))


def _per_column(known: _Known) -> Result:
    return PerColumn(**known, values=_figures(known["figures"][known["statistic"]]))


def _matrix(known: _Known) -> Result:
    size = len(known["columns"])
    matrix = np.array(_list(known["figures"]["matrix"]), np.float64)
    return Matrix(**known, matrix=matrix.reshape(size, size))


def _histogram(known: _Known) -> Result:
    found = _map(known["figures"]["histogram"])
    columns = {name: _map(found[name]) for name in found}
    edges = [float(str(edge)) for edge in _list(known["figures"]["edges"])]
    return Histogram(
        **known,
        edges=np.array(edges),
        counts={
            name: np.array([_whole(count) for count in _list(column["counts"])])
            for name, column in columns.items()
        },
        below={name: _whole(column["below"]) for name, column in columns.items()},
        above={name: _whole(column["above"]) for name, column in columns.items()},
    )


def _regression(known: _Known) -> Result:
    figures = known["figures"]
    freedom = figures.get("degrees_of_freedom")
    return Regression(
        **known,
        intercept=_figure(figures["intercept"]),
        coefficients=_figures(figures["coefficients"]),
        r2=_figure(figures["r2"]),
        intercept_standard_error=_figure(figures.get("intercept_standard_error")),
        standard_errors=_figures(figures.get("standard_errors", {})),
        residual_standard_error=_figure(figures.get("residual_standard_error")),
        degrees_of_freedom=None if freedom is None else _whole(freedom),
    )


def _largest_group(known: _Known) -> Result:
    groups = _map(known["figures"]["argmax"])
    return LargestGroup(
        **known,
        by=str(known["figures"]["by"]),
        groups={name: float(str(group)) for name, group in groups.items()},
    )


_MAKERS: Final[Mapping[str, Callable[[_Known], Result]]] = {
    "count": _count,
    "covariance": _matrix,
    "correlation": _matrix,
    "histogram": _histogram,
    "linear-regression": _regression,
    "argmax": _largest_group,
} | dict.fromkeys(
    ("sum", "mean", "variance", "stddev", "min", "max", "median", "quantile"),
    _per_column,
)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("not a whole number")
    return value


def _figure(value: object) -> Figure:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise TypeError("not a figure")
    return value


def _figures(value: object) -> dict[str, Figure]:
    return {name: _figure(figure) for name, figure in _map(value).items()}


def _map(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError("not a map")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value
