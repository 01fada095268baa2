"""The engines that there are, by name."""

from typing import Final

from participant.engines.additive import Additive
from participant.engines.base import Engine
from shared.errors import RefusalCode, RefusedError

_ENGINES: Final[dict[str, Engine]] = {known.name: known for known in (Additive(),)}


def names() -> tuple[str, ...]:
    """Return the names of the engines, sorted."""
    return tuple(sorted(_ENGINES))


def engine(name: str) -> Engine:
    """Return the engine of that name.

    Raises:
        RefusedError: there is none.
    """
    try:
        return _ENGINES[name]
    except KeyError:
        raise RefusedError(
            f"no engine {name!r}; there is {', '.join(names())}",
            RefusalCode.UNSUPPORTED,
        ) from None
