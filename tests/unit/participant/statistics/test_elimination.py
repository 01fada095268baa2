"""Exact solution of symmetric systems."""

from fractions import Fraction

import numpy as np

from participant.statistics.elimination import Eliminated, eliminate


def _system(size: int, seed: int) -> tuple[list[list[int]], list[int]]:
    generator = np.random.default_rng(seed)
    factor = generator.integers(-50, 50, (size, size))
    matrix: list[list[int]] = (factor @ factor.T).tolist()
    right: list[int] = generator.integers(-99, 99, size).tolist()
    return matrix, right


def test_the_solution_solves_the_system_exactly() -> None:
    """In integers, without a single rounding."""
    for size in range(1, 9):
        matrix, right = _system(size, size)
        solved = eliminate(matrix, right, lambda *_: False)
        assert isinstance(solved, Eliminated)

        numerators, denominator = solved.solution()

        unknowns = [Fraction(numerator, denominator) for numerator in numerators]
        assert [
            sum(
                (entry * unknown for entry, unknown in zip(row, unknowns, strict=True)),
                Fraction(),
            )
            for row in matrix
        ] == right


def test_the_inverse_agrees_with_numpy() -> None:
    """Its diagonal, and its quadratic form."""
    matrix, right = _system(6, 3)
    solved = eliminate(matrix, right, lambda *_: False)
    assert isinstance(solved, Eliminated)

    inverse = np.linalg.inv(np.array(matrix, float))

    np.testing.assert_allclose(
        solved.inverse_diagonal(4), 4 * np.diag(inverse), rtol=1e-8
    )
    np.testing.assert_allclose(
        solved.inverse_form(right), np.array(right) @ inverse @ right, rtol=1e-8
    )


def test_the_first_dependent_row_is_named() -> None:
    """Which is what a user can leave out."""
    matrix = [[1, 2, 0], [2, 4, 0], [0, 0, 1]]

    assert eliminate(matrix, [1, 2, 3], lambda *_: False) == 1
    assert eliminate(matrix, [1, 2, 3], lambda *_: True) == 0
