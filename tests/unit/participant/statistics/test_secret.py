"""What is computed in secret has bounds, which are checked at the source."""

import numpy as np
import pytest

from participant.statistics.params import parse_params
from participant.statistics.registry import checked
from shared.errors import JobAbortedError, RefusalCode, RefusedError
from tests.unit.participant.statistics.rounds import as_columns


@pytest.mark.parametrize(
    ("request_", "room"),
    [
        ({"statistic": "median"}, 46),
        ({"statistic": "max"}, 46),
        ({"statistic": "variance", "reveal": "final"}, 30),
        ({"statistic": "median", "fixp": 4}, 58),
    ],
)
def test_cells_that_are_too_large_are_refused_with_the_bound(
    request_: dict[str, object], room: int
) -> None:
    """The owner learns which column, and what would help."""
    params = parse_params(request_ | {"columns": ["a"]})
    statistic = checked(params)
    for cell in (2.0**room, -(2.0**room), 1e308):
        with pytest.raises(
            RefusedError, match=rf"'a' holds .* 2\*\*{room} or"
        ) as caught:
            statistic.prepare(as_columns({"a": [0.0, cell]}), params)
        assert caught.value.code is RefusalCode.OVERFLOW
    fitting = np.nextafter(2.0**room, 0)
    statistic.prepare(as_columns({"a": [fitting, -fitting]}), params)


def test_a_group_that_is_too_large_is_refused_with_the_bound() -> None:
    """Sums are compared to more bits than cells have, and still bounded."""
    params = parse_params(
        {"statistic": "argmax", "columns": ["a"], "by": "g", "groups": ["0", "1"]}
    )
    with pytest.raises(RefusedError, match=r"2\*\*69 or more"):
        checked(params).prepare(as_columns({"a": [2.0**69], "g": [0.0]}), params)


@pytest.mark.parametrize(
    "request_",
    [
        {"statistic": "min"},
        {"statistic": "median"},
        {"statistic": "variance", "reveal": "final"},
        {"statistic": "argmax", "by": "g", "groups": ["0", "1"]},
    ],
)
def test_outputs_that_make_no_sense_end_the_job(request_: dict[str, object]) -> None:
    """Of another number, or a group that there is not."""
    params = parse_params(request_ | {"columns": ["a"]})
    for outputs in ([], [1] * 9, [2] if "by" in request_ else [0] * 7):
        with pytest.raises(JobAbortedError, match="make no sense"):
            checked(params).finish(outputs, params)
