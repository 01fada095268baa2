"""The tables that the bench computes on: one numeric column, in several files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLUMN = "x"
NPY, CSV = ".npy", ".csv"


@dataclass(frozen=True, slots=True)
class Table:
    """A dataset of so many rows, in as many files as there are sources."""

    dataset: str
    rows: int
    sources: int
    suffix: str = NPY

    def write(self, folder: Path, source: int) -> Path:
        """Write the file of one source, other numbers in each; return its path."""
        path = self.path(folder, source)
        rows = self.rows // self.sources + (source < self.rows % self.sources)
        values = np.random.default_rng(source).normal(size=rows)
        if self.suffix == NPY:
            np.save(path, values.astype([(COLUMN, np.float64)]))
        else:
            np.savetxt(path, values, "%.6f", header=COLUMN, comments="")
        return path

    def sum(self, folder: Path) -> float:
        """Read all files with NumPy, one after the other, and add them up."""
        return sum(
            float(self._read(self.path(folder, source)).sum())
            for source in range(self.sources)
        )

    def path(self, folder: Path, source: int) -> Path:
        """Return the file of one source."""
        return folder / f"{self.dataset}_{source}{self.suffix}"

    def _read(self, path: Path) -> NDArray[np.float64]:
        read = np.load(path)[COLUMN] if self.suffix == NPY else _read_csv(path)
        return np.asarray(read, np.float64)


def _read_csv(path: Path) -> NDArray[np.float64]:
    return np.loadtxt(path, np.float64, skiprows=1)
