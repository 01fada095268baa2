"""The engines that there are, by name: built in, or brought by installed packages.

A package brings engines as entry points of the group ``mpc_management.engines``: the
name is the engine's, the object is a class that takes no arguments. Names are listed
without importing anything; a plugin is imported when it is used first. docs/engines.md
shows how to write one.
"""

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from participant.engines.additive import Additive
from participant.engines.base import Engine
from participant.engines.mpyc_engine import Mpyc
from shared.errors import RefusalCode, RefusedError
from shared.names import is_label

GROUP: Final = "mpc_management.engines"
_BUILT_IN: Final[Mapping[str, Engine]] = {
    known.name: known for known in (Additive(), Mpyc())
}
_METHODS: Final = (
    "max_threshold",
    "max_block_bytes",
    "check",
    "check_values",
    "share",
    "run",
    "reconstruct",
)
_FACTS: Final[Mapping[str, type]] = {
    "name": str,
    "version": str,
    "in_worker": bool,
    "preload": tuple,
}

_log = logging.getLogger(__name__)


def names() -> tuple[str, ...]:
    """Return the names of the engines, sorted; whether a plugin works is not tried."""
    return tuple(sorted({*_BUILT_IN, *_plugins()}))


def is_plugin(name: str) -> bool:
    """Say whether an installed package brings the engine of that name."""
    return name in _plugins()


def engine(name: str) -> Engine:
    """Return the engine of that name.

    Raises:
        RefusedError: there is none, its package cannot be imported or does not hold
            an engine, or two packages bring it.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    found = _plugins().get(name, ())
    if not found:
        raise _unusable(f"no engine {name!r}; there is {', '.join(names())}")
    if len(found) > 1:
        raise _unusable(
            f"engine {name!r} is brought by"
            f" {' and by '.join(sorted(_package(point) for point in found))};"
            " uninstall all but one"
        )
    return _loaded(found[0])


@cache
def _plugins() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Return the entry points of each name that a plugin may have."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=GROUP):
        if point.name in _BUILT_IN or not is_label(point.name):
            _log.warning(
                "engine ignored: its name is taken or is no label",
                extra={"engine": point.name, "package": _package(point)},
            )
            continue
        found[point.name] = (*found.get(point.name, ()), point)
    return found


@cache
def _loaded(point: EntryPoint) -> Engine:
    """Return a plugin's engine; what does not work is tried again the next time."""
    try:
        made = point.load()()
    except Exception as error:
        # Its text is the package's own, and a refusal may travel to the consumer.
        _log.warning(
            "engine cannot be loaded",
            extra={"engine": point.name, "package": _package(point)},
            exc_info=True,
        )
        raise _unusable(
            f"engine {point.name!r} of package {_package(point)} cannot be loaded"
            f" ({type(error).__name__}); install the package anew or remove it"
        ) from error
    wrong = [
        fact
        for fact, kind in _FACTS.items()
        if not isinstance(getattr(made, fact, None), kind)
    ]
    wrong += [name for name in _METHODS if not callable(getattr(made, name, None))]
    if not wrong and (made.name != point.name or not made.version):
        wrong = ["name" if made.name != point.name else "version"]
    if wrong:
        raise _unusable(
            f"engine {point.name!r} of package {_package(point)} is none:"
            f" see its {', '.join(wrong)}"
        )
    checked: Engine = made
    return checked


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _unusable(message: str) -> RefusedError:
    return RefusedError(message, RefusalCode.UNSUPPORTED)
