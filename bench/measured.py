"""Figures: many samples of one thing, beside the samples of its floor."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, unique
from statistics import median


@unique
class Better(StrEnum):
    """Which way a figure should go."""

    LESS = "less"
    MORE = "more"


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one thing, in the order in which they were taken."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse to stand for nothing."""
        if not self.values:
            raise ValueError("a series without samples")

    @classmethod
    def of(cls, values: Iterable[float]) -> "Series":
        """Return the series of these samples."""
        return cls(tuple(values))

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return median(self.values)

    @property
    def lowest(self) -> float:
        """The least sample."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """The greatest sample."""
        return max(self.values)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    Attributes:
        part: the part of the bench that it belongs to.
        name: what was measured.
        unit: of the samples and of the floors.
        measured: the samples.
        floors: by what they are; the first is the one that counts. All were
            measured in the same run, in turn with ``measured``.
        better: which way the figure should go.
        details: medians of what it is made of, in the same unit.
    """

    part: str
    name: str
    unit: str
    measured: Series
    floors: tuple[tuple[str, Series], ...] = ()
    better: Better = Better.LESS
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The median as a multiple of the first floor's; ``None`` without one.

        Of a rate it is the share of the floor that is reached.
        """
        if not self.floors:
            return None
        return self.measured.median / self.floors[0][1].median

    def to_json(self) -> dict[str, object]:
        """Return the figure for machines."""
        return {
            "part": self.part,
            "name": self.name,
            "unit": self.unit,
            "better": self.better.value,
            **_summary(self.measured),
            "floors": {name: _summary(series) for name, series in self.floors},
            "ratio": self.ratio,
            "details": dict(self.details),
        }


def _summary(series: Series) -> dict[str, object]:
    return {
        "median": series.median,
        "min": series.lowest,
        "max": series.highest,
        "samples": list(series.values),
    }
