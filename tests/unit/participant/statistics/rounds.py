"""One round of a statistic: sources, servers and consumer in a row."""

import itertools
import secrets
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from participant.columns import Columns
from participant.engines.base import Plan
from participant.engines.registry import engine
from participant.statistics.base import Result
from participant.statistics.params import parse_params
from participant.statistics.registry import checked
from shared.names import JobId
from tests.mpyc_servers import outputs

Table = Mapping[str, Sequence[float] | NDArray[np.float64]]


def as_columns(table: Table) -> Columns:
    """Return a source's columns."""
    values = {name: np.asarray(cells, np.float64) for name, cells in table.items()}
    rows = len(next(iter(values.values())))
    bounds = [0, *sorted({rows // 3, rows}), rows]
    return Columns(
        {name: cells[start:end] for name, cells in values.items()}
        for start, end in itertools.pairwise(bounds)
        if start < end
    )


def compute(
    mapping: Mapping[str, object], sources: Sequence[Table], servers: int = 3
) -> Result:
    """Return the result that the consumer gets."""
    params = parse_params(mapping)
    statistic = checked(params)
    (name,) = statistic.engines
    machine = engine(name)
    plan = Plan(
        job=JobId(bytes(16)), parties=servers, party=None, sources=len(sources),
        threshold=machine.max_threshold(servers), width=statistic.width(params),
        program=statistic.program(params),
    )  # fmt: skip
    blocks = [
        machine.share(
            statistic.prepare(as_columns(table), params), plan, secrets.token_bytes
        )
        for table in sources
    ]
    if machine.in_worker:
        shares = outputs(plan, blocks)
    else:
        shares = [
            machine.run(plan, [own[server] for own in blocks], {})
            for server in range(servers)
        ]
    return statistic.finish(machine.reconstruct(shares, plan), params)
