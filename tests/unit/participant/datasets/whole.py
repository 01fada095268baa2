"""A dataset's columns, all rows together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from participant.columns import FloatColumn, Missing
from participant.datasets.tables import open_columns


def read_columns(
    path: Path, names: Sequence[str], missing: Missing
) -> dict[str, FloatColumn]:
    """Return whole columns of a dataset."""
    with open_columns(path, names, missing) as columns:
        parts = [{name: part[name].copy() for name in names} for part in columns]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
