"""From what somebody asks for, in plain values, to a question that was checked."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from numbers import Integral, Real
from typing import TypeAlias, TypedDict, Unpack

import numpy as np

from participant.columns import Missing
from participant.service.question import (
    DEFAULT_DEADLINE,
    DEFAULT_RESULT_LIFE,
    DEFAULT_SERVERS,
    Question,
    check_question,
    default_engine,
)
from participant.statistics.params import (
    DEFAULT_FIXP,
    Params,
    Reveal,
    parse_params,
    refused,
)
from shared.codec import Value
from shared.config import parse_duration
from shared.errors import DecodeError
from shared.messages import Requirements
from shared.messages.wire import MAX_TEXT, validate

Number: TypeAlias = float | Decimal | np.number | str
"""A number, or a text that is a decimal number."""


_PLAIN_DIGITS = 40
"""A number with more than so many is written with an exponent."""


class Options(TypedDict, total=False):
    """What may be said of a computation beside statistic, dataset and columns.

    ``target``: what a regression explains. ``edges``: of a histogram, increasing.
    ``q``: which quantile, 0 to 1. ``by``, ``groups``: the column that says a row's
    group, and its values. ``reveal``: ``sums`` or ``final``. ``missing``: what happens
    to rows with gaps, ``refuse`` or ``drop``. ``fixp``: fractional bits.

    ``servers``: how many MPC servers compute. ``location``, ``csp``, ``ncpus``,
    ``ram`` (GiB): what each of them must have. ``min_sources``: go on with so many
    sources; 0 means all that are asked. ``engine``, ``threshold``: how it is computed,
    and how many servers may pool what they see. ``purpose``: the sources see it.
    ``deadline``: for everything; ``keep``: how long the result waits; both as a
    duration such as ``90s``.
    """

    target: str | None
    edges: Sequence[Number]
    q: Number | None
    by: str | None
    groups: Sequence[Number]
    reveal: str
    missing: str
    fixp: int
    servers: int
    location: str | None
    csp: str | None
    ncpus: int | None
    ram: int | None
    min_sources: int
    engine: str | None
    threshold: int | None
    purpose: str | None
    deadline: str | timedelta
    keep: str | timedelta


def make_question(
    statistic: str,
    dataset: str,
    columns: str | Sequence[str] = (),
    **options: Unpack[Options],
) -> Question:
    """Return a question that can be asked.

    Args:
        statistic: its name.
        dataset: of every source.
        columns: their names, or the name of the only one.
        options: see ``Options``; the defaults are those of the command line.

    Raises:
        RefusedError: it cannot be asked so; the text names what and the bounds.
        ConfigError: servers or a duration are out of bounds.
    """
    _check_names(options)
    params = _params(statistic, columns, options)
    servers = options.get("servers", DEFAULT_SERVERS)
    min_sources = options.get("min_sources", 0)
    threshold, purpose = options.get("threshold"), options.get("purpose")
    engine = options.get("engine")
    _check_texts({"dataset": dataset})
    _check_texts({"purpose": purpose, "engine": engine}, optional=True)
    _check_whole({"servers": servers, "min_sources": min_sources})
    _check_whole({"threshold": threshold}, optional=True)
    question = Question(
        params=params,
        dataset=dataset,
        servers=servers,
        engine=default_engine(params) if engine is None else engine,
        threshold=threshold,
        requires=_requirements(options),
        min_sources=min_sources,
        purpose=purpose,
        deadline=_duration(options.get("deadline", DEFAULT_DEADLINE)),
        result_life=_duration(options.get("keep", DEFAULT_RESULT_LIFE)),
    )
    check_question(question)
    return question


def _check_names(options: Options) -> None:
    known = Options.__annotations__
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            also = (
                f"did you mean {near[0]!r}?"
                if near
                else f"there are {', '.join(known)}"
            )
            raise refused(f"there is no option {name!r}; {also}")


def _params(statistic: object, columns: object, options: Options) -> Params:
    asked: dict[str, object] = {
        "statistic": statistic,
        "columns": [columns] if isinstance(columns, str) else _listed(columns),
        "edges": [_decimal(edge) for edge in _listed(options.get("edges", ()))],
        "groups": [_decimal(group) for group in _listed(options.get("groups", ()))],
        "reveal": options.get("reveal", Reveal.SUMS.value),
        "missing": options.get("missing", Missing.REFUSE.value),
        "fixp": options.get("fixp", DEFAULT_FIXP),
    }
    texts = {
        "target": options.get("target"),
        "by": options.get("by"),
        "q": _decimal(options.get("q")),
    }
    return parse_params(
        asked | {name: text for name, text in texts.items() if text is not None}
    )


def _listed(value: object) -> list[object]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise refused("columns, edges and groups are lists")
    return list(value)


def _decimal(value: object) -> object:
    """Return a number as a decimal text; what is none stays as it is."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        value = Decimal(repr(float(value)))
    if not isinstance(value, Decimal):
        return value
    plain = f"{value:f}"
    return plain if len(plain) <= _PLAIN_DIGITS else str(value)


def _check_whole(given: Mapping[str, object], *, optional: bool = False) -> None:
    for name, value in given.items():
        if value is None and optional:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise refused(f"{name} has to be a whole number")


def _check_texts(given: Mapping[str, object], *, optional: bool = False) -> None:
    for name, value in given.items():
        if not isinstance(value, str) and not (value is None and optional):
            raise refused(f"{name} has to be a text")


def _requirements(options: Options) -> Requirements:
    cpus, ram = options.get("ncpus"), options.get("ram")
    _check_whole({"ncpus": cpus, "ram": ram}, optional=True)
    asked: dict[str, Value] = {
        "location": options.get("location"),
        "csp": options.get("csp"),
        "cpus": cpus,
        "ram": ram,
    }
    try:
        return validate(Requirements, asked)
    except DecodeError as error:
        raise refused(
            f"location and csp are 1 to {MAX_TEXT} printable characters, ncpus and ram"
            " whole numbers from 0 on"
        ) from error


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise refused("deadline and keep are durations such as 90s, or timedelta")
    return parse_duration(value)
