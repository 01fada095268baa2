"""Which group's sum is the largest; the sums stay secret."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from participant.bounds import MAX_GROUPS
from participant.columns import Columns, Values
from participant.programs import LargestGroup, pack_program
from participant.statistics.base import (
    SECRET,
    Result,
    check_outputs,
    check_shape,
    senseless,
)
from participant.statistics.exact import (
    GUARD_BITS,
    ExactSums,
    check_size,
)
from participant.statistics.params import Params, group_values, refused
from shared.errors import RefusalCode, RefusedError

MIN_GROUPS: Final = 2
GROUP_GUARD_BITS: Final = 32
"""Bits of a group's sum below the fractional bits that a request names."""
MAX_SUM_BITS: Final = 117
"""A source's sum of a group, in units of its grid, is below 2 to this power."""

_DROPPED_BITS: Final = GUARD_BITS - GROUP_GUARD_BITS


class ArgMax:
    """The group of rows whose sum is the largest; of equal ones the first named."""

    name: Final = "argmax"
    engines: Final = SECRET
    min_columns: Final = 1
    max_columns: Final = 1
    learns: Final = (
        "which of the groups named has the largest sum of the column, of all sources"
        " together"
    )

    def check(self, params: Params) -> None:
        """See ``Statistic``."""
        check_shape(self, params, has_groups=True)
        if not MIN_GROUPS <= len(params.groups) <= MAX_GROUPS:
            raise refused(
                f"argmax takes {MIN_GROUPS} to {MAX_GROUPS} groups,"
                f" not {len(params.groups)}"
            )
        group_values(params)

    def width(self, params: Params) -> int:
        """See ``Statistic``."""
        return len(params.groups)

    def program(self, params: Params) -> bytes:
        """See ``Statistic``."""
        return pack_program(LargestGroup(len(params.groups)))

    def prepare(self, columns: Columns, params: Params) -> Values:
        """See ``Statistic``: the sum of each group's rows, 0 where there are none."""
        (name,) = params.columns
        groups = group_values(params)
        exact = ExactSums([name] * len(groups))
        for part in columns:
            cells, labels = part[name], part[str(params.by)]
            check_size(name, cells)
            exact.add([cells[np.equal(labels, group)] for group in groups])
        sums = [
            (own + (1 << (_DROPPED_BITS - 1))) >> _DROPPED_BITS
            for own in exact.encoded(params.fixp)
        ]
        room = MAX_SUM_BITS - GROUP_GUARD_BITS - params.fixp
        if any(abs(total) >= 1 << MAX_SUM_BITS for total in sums):
            raise RefusedError(
                f"a group's sum of column {name!r} is 2**{room} or more; choose a"
                " larger unit for it, or ask with a smaller fixp",
                RefusalCode.OVERFLOW,
            )
        return sums

    def finish(self, totals: Sequence[int], params: Params) -> Result:
        """See ``Statistic``."""
        check_outputs(totals, 1)
        if not 0 <= totals[0] < len(params.groups):
            raise senseless()
        return {
            "by": params.by,
            "argmax": {params.columns[0]: params.groups[totals[0]]},
        }
