"""Which MPC servers and sources a job is offered to; pure and deterministic."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from manager.protocol.model import Member, Pool
from shared.messages import Attributes, Requirements, Spec
from shared.names import Principal

LOAD_STEP_PERCENT = 25
"""Loads closer than this count as equal: they change within seconds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """MPC servers that shall compute, best first."""

    servers: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Shortage:
    """Too few MPC servers. ``waits``: enough match, but too few have a free slot."""

    reason: str
    waits: bool


@dataclass(frozen=True, slots=True)
class _Criterion:
    """One thing that a server must have; ``text`` says it to a person."""

    text: str
    holds: Callable[[Member], bool]


def matches(attributes: Attributes, requires: Requirements) -> bool:
    """Say whether an MPC server has what is required; texts equal in any case."""
    return (
        _same(requires.location, attributes.location)
        and _same(requires.csp, attributes.csp)
        and _at_least(requires.cpus, attributes.cpus)
        and _at_least(requires.ram, attributes.ram)
    )


def choose(
    servers: Iterable[Member],
    requires: Requirements,
    count: int,
    deadline: int,
    excluded: Collection[Principal] = (),
    kept: Sequence[Member] = (),
) -> Selection | Shortage:
    """Return the best MPC servers for a job, or what is missing.

    An operator and a cloud provider that no server before has come first (servers
    of one owner can collude), then more free slots, then less load, then the name.

    Args:
        servers: all that are online.
        requires: what each must have.
        count: how many are needed.
        deadline: the job's, ms; a server's endorsement must last until then.
        excluded: never chosen: in the roster already, or they refused.
        kept: the roster's other servers, which the choice should differ from.
    """
    online = [member for member in servers if member.principal not in excluded]
    criteria = _criteria(requires, deadline)
    matching = [m for m in online if all(c.holds(m) for c in criteria)]
    free = [member for member in matching if member.slots_free > 0]
    if len(free) >= count:
        return Selection(_best(free, count, kept))
    if len(matching) >= count:
        return Shortage(
            f"waiting for a free MPC server: {count} needed, {len(free)} of"
            f" {len(matching)} that match have a free slot",
            waits=True,
        )
    others = [member for member in online if member not in matching]
    return Shortage(_missing(count, criteria, len(matching), others), waits=False)


def find_sources(pool: Pool, spec: Spec) -> tuple[Member, ...] | str:
    """Return the sources of a job by name, or say in words who is missing."""
    found: dict[Principal, Member] = {}
    for dataset in spec.datasets:
        offering = pool.sources(dataset)
        if not offering:
            return f"no source that is online offers the dataset {dataset}"
        found.update((member.principal, member) for member in offering)
    if len(found) < spec.min_sources:
        return (
            f"{spec.min_sources} sources needed, {len(found)} online with the dataset"
            f" {', '.join(spec.datasets)}"
        )
    return tuple(sorted(found.values(), key=attrgetter("principal")))


def _same(wanted: str | None, has: str | None) -> bool:
    return wanted is None or (has is not None and wanted.casefold() == has.casefold())


def _at_least(wanted: int | None, has: int | None) -> bool:
    return not wanted or (has is not None and has >= wanted)


def _criteria(requires: Requirements, deadline: int) -> tuple[_Criterion, ...]:
    """Return what a server must have, one criterion for each thing named."""
    named = requires.model_dump(exclude_none=True)
    return (
        *(_required(name, wanted) for name, wanted in named.items()),
        _Criterion(
            "a session until the deadline",
            lambda member: member.endorse_exp >= deadline,
        ),
    )


def _required(name: str, wanted: str | int) -> _Criterion:
    """Return the criterion that one field of the requirements stands for."""
    only = Requirements.model_validate({name: wanted})
    sign = ">=" if isinstance(wanted, int) else "="
    return _Criterion(
        f"{name}{sign}{wanted}", lambda member: matches(member.attributes, only)
    )


def _best(free: list[Member], count: int, kept: Sequence[Member]) -> tuple[Member, ...]:
    """Return the best of those that are free, chosen one after the other."""
    chosen: list[Member] = []
    candidates = list(free)
    while len(chosen) < count:
        before = (*kept, *chosen)
        operators = {_folded(m.attributes.operator) for m in before}
        providers = {_folded(m.attributes.csp) for m in before}
        best = min(
            candidates,
            key=lambda member: (
                _folded(member.attributes.operator) in operators,
                _folded(member.attributes.csp) in providers,
                -member.slots_free,
                member.load // LOAD_STEP_PERCENT,
                member.principal,
            ),
        )
        chosen.append(best)
        candidates.remove(best)
    return tuple(chosen)


def _folded(text: str | None) -> str | None:
    return None if text is None else text.casefold()


def _missing(
    count: int, criteria: tuple[_Criterion, ...], matching: int, others: list[Member]
) -> str:
    """Return how many servers match and what the others lack."""
    wanted = ", ".join(criterion.text for criterion in criteria[:-1])
    text = f"{count} MPC server{'' if count == 1 else 's'} needed"
    text += f" with {wanted}" if wanted else ""
    text += f": {matching} online"
    for criterion in criteria:
        having = sum(criterion.holds(member) for member in others)
        if having < len(others):
            have = "other has" if len(others) == 1 else "others have"
            text += f", {having} of {len(others)} {have} {criterion.text}"
    return text
