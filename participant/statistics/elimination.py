"""Symmetric systems of linear equations in integers, solved without rounding.

Bareiss (1968): elimination in which every number is a minor of the matrix, so
that each division is exact and numbers grow as slowly as they can.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Eliminated:
    """A positive definite system after elimination.

    With ``m[k]`` the leading minor of k + 1 rows and ``m[-1] = 1``:

    Attributes:
        upper: row k holds the entries of column k and after, times minors;
            its first one is m[k].
        right: the right side.
        weights: row k holds, over m[k - 1], which combination of rows 0 to k is
            left in row k.
        minors: m[-1], m[0], …
    """

    upper: tuple[Row, ...]
    right: Row
    weights: tuple[Row, ...]
    minors: Row

    def solution(self) -> tuple[Row, int]:
        """Return numerators and the common denominator of the unknowns."""
        size = len(self.right)
        determinant = self.minors[-1]
        numerators = [0] * size
        for row in reversed(range(size)):
            pivot, *entries = self.upper[row]
            known = sum(
                entry * numerators[row + 1 + index]
                for index, entry in enumerate(entries)
            )
            # Cramer's rule: the numerator is a determinant, hence an integer.
            numerators[row] = (determinant * self.right[row] - known) // pivot
        return tuple(numerators), determinant

    def inverse_diagonal(self, scale: int) -> list[float]:
        """Return the diagonal of the matrix's inverse, times ``scale``."""
        size = len(self.right)
        return [
            sum(
                self.weights[row][index] ** 2 * scale / self._divisor(row)
                for row in range(index, size)
            )
            for index in range(size)
        ]

    def inverse_form(self, vector: Sequence[int]) -> float:
        """Return the vector times the matrix's inverse times the vector."""
        return sum(
            sum(weight * entry for weight, entry in zip(weights, vector, strict=False))
            ** 2
            / self._divisor(row)
            for row, weights in enumerate(self.weights)
        )

    def _divisor(self, row: int) -> int:
        return self.minors[row] * self.minors[row + 1]


def eliminate(
    matrix: Sequence[Sequence[int]],
    right: Sequence[int],
    is_singular: Callable[[int, Row], bool],
) -> Eliminated | int:
    """Eliminate, or return the first row that depends on those before it.

    Args:
        matrix: symmetric, positive semidefinite up to rounding of its entries.
        right: the right side.
        is_singular: told what is left of a row's diagonal entry and with which
            weights it combines the rows up to it (the entry times the square of
            a scale, the weights times that scale), says whether it may be 0; an
            entry that is not positive always counts so.

    Returns:
        The eliminated system, or the index of the row.
    """
    size = len(right)
    rows = [list(row) for row in matrix]
    side = list(right)
    weights = [[int(row == column) for column in range(size)] for row in range(size)]
    minors = [1]
    for pivot_row in range(size):
        before = minors[-1]
        pivot = rows[pivot_row][pivot_row]
        used = tuple(weights[pivot_row][: pivot_row + 1])
        if pivot <= 0 or is_singular(pivot * before, used):
            return pivot_row
        source = rows[pivot_row]
        for row in range(pivot_row + 1, size):
            factor = source[row]  # by symmetry the entry below the pivot
            target = rows[row]
            for column in range(row, size):
                target[column] = (
                    pivot * target[column] - factor * source[column]
                ) // before
            side[row] = (pivot * side[row] - factor * side[pivot_row]) // before
            own = weights[row]
            for column in range(row + 1):
                own[column] = (
                    pivot * own[column] - factor * weights[pivot_row][column]
                ) // before
        minors.append(pivot)
    return Eliminated(
        upper=tuple(tuple(row[index:]) for index, row in enumerate(rows)),
        right=tuple(side),
        weights=tuple(tuple(row[: index + 1]) for index, row in enumerate(weights)),
        minors=tuple(minors),
    )
