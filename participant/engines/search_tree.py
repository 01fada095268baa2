"""A source's column as a search tree that servers walk without learning where.

The column is sorted and becomes a binary search tree: with n rows the perfect tree
of n.bit_length() levels, in whose order position i = 1, 2, … holds the i-th smallest
value, and infinity after the last. Position i lies z levels above the leaves, where
2**z is the largest power of two that divides i; its children are i - 2**(z-1) and
i + 2**(z-1), and there are 2**z positions in its left part and at itself.

Nodes are put into a random order that only the source knows, and each holds where its
children are. A walk visits each level once, so that the places it opens are uniform,
distinct and independent of the data. Infinity is not stored: each level has one
node for the part of the tree that is all infinite. Where a walk must not
move although another tree's does, it opens the next of the dummy nodes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from participant.bounds import INFINITY, MAX_HEIGHT, MAX_SOURCES
from participant.engines.base import Entropy
from participant.engines.shamir import Field
from shared.errors import (
    FailureCode,
    JobAbortedError,
    RefusalCode,
    RefusedError,
)

DUMMIES: Final = MAX_SOURCES * MAX_HEIGHT
"""Dummy nodes of each tree, one for every round that there can be.

A source need not know how many others there are.
"""
NODE_ELEMENTS: Final = 3
"""A node's value, and where its left and its right child are."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shape:
    """The public size of a tree's table.

    Attributes:
        rows: the column's rows, 1 to ``MAX_ROWS``.
        dummies: nodes that may be opened without moving.
    """

    rows: int
    dummies: int

    @property
    def height(self) -> int:
        """Return the number of levels."""
        return self.rows.bit_length()

    @property
    def nodes(self) -> int:
        """Return the number of nodes in the table.

        On each level one more than rows ask for may be on the way to finite values,
        and one stands for all that are not.
        """
        return self.rows + 2 * self.height + self.dummies

    @property
    def elements(self) -> int:
        """Return the number of elements: root, dummies' places, then the nodes."""
        return 1 + self.dummies + NODE_ELEMENTS * self.nodes

    def node_start(self, place: int) -> int:
        """Return at which element the node at a place starts."""
        return 1 + self.dummies + NODE_ELEMENTS * place


@dataclass(frozen=True, slots=True)
class Table:
    """One server's shares of one source's tree.

    Attributes:
        shape: of the tree.
        elements: the shares as they came, of which few are ever read.
        field: of the shares.
    """

    shape: Shape
    elements: memoryview
    field: Field

    def read(self, start: int, count: int) -> list[int]:
        """Return some of the elements."""
        width = self.field.element_bytes
        return self.field.read(self.elements[start * width : (start + count) * width])

    def node(self, place: int) -> list[int]:
        """Return the node at a place.

        Raises:
            JobAbortedError: there is no such place; the source followed another plan.
        """
        if place >= self.shape.nodes:
            raise JobAbortedError(
                "a source's table points to where it has no node", FailureCode.ENGINE
            )
        return self.read(self.shape.node_start(place), NODE_ELEMENTS)


def search_table(column: Integers, dummies: int, entropy: Entropy) -> Integers:
    """Return a column's tree as the elements that are to be shared.

    Args:
        column: 1 to ``MAX_ROWS`` values in any order, below ``INFINITY`` in magnitude.
        dummies: number of dummy nodes.
        entropy: where the nodes' order comes from.
    """
    shape = Shape(len(column), dummies)
    rows, height = shape.rows, shape.height
    levels = np.arange(height)
    last = (rows >> (levels + 1)) << (levels + 1)
    positions = np.concatenate([np.arange(1, rows + 1), last + (1 << levels)])
    depths = np.concatenate([_trailing_zeros(positions[:rows]), levels])
    places = random_order(shape.nodes, entropy)

    nodes = np.zeros((shape.nodes, NODE_ELEMENTS), np.int64)
    nodes[:rows, 0] = np.sort(column)
    nodes[rows : rows + 2 * height, 0] = INFINITY
    is_inner = depths > 0
    stride = np.where(is_inner, 1 << np.maximum(depths - 1, 0), 0)
    for side, sign in ((1, -1), (2, 1)):
        children = _slots(positions + sign * stride, depths - 1, shape)
        nodes[: rows + height, side] = np.where(is_inner, places[children], 0)
        # An infinite part's children are the infinite part one level below.
        nodes[rows + height + 1 : rows + 2 * height, side] = places[
            rows + height : rows + 2 * height - 1
        ]
    table = np.empty_like(nodes)
    table[places] = nodes
    root = places[(1 << (height - 1)) - 1]
    return np.concatenate([[root], places[shape.nodes - dummies :], table.ravel()])


def random_order(count: int, entropy: Entropy) -> Integers:
    """Return a uniformly random permutation.

    Raises:
        RefusedError: the entropy is too short.
    """
    while True:
        data = entropy(8 * count)
        if len(data) != 8 * count:
            raise RefusedError(
                "the source of randomness gave too few bytes", RefusalCode.INTERNAL
            )
        keys = np.frombuffer(data, "<u8")
        order = np.argsort(keys)
        drawn = keys[order]
        if not (drawn[1:] == drawn[:-1]).any():
            return order.astype(np.int64)


def _slots(positions: Integers, levels: Integers, shape: Shape) -> Integers:
    """Return which node stands for a position.

    Args:
        positions: in the tree's order, from 1.
        levels: of each above the leaves.
        shape: of the table.
    """
    rows, height = shape.rows, shape.height
    levels = np.maximum(levels, 0)
    has_finite = positions - (1 << levels) < rows
    infinite = rows + levels + np.where(has_finite, 0, height)
    return np.where(positions <= rows, positions - 1, infinite)


def _trailing_zeros(positions: Integers) -> Integers:
    """Return the exponent of the largest power of two in each, exactly."""
    _, exponents = np.frexp((positions & -positions).astype(np.float64))
    return exponents.astype(np.int64) - 1
