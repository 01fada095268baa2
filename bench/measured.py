"""A figure beside its floor."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """``value`` and ``floor`` in ``unit``, measured in the same run."""

    name: str
    value: float
    floor: float
    unit: str

    @property
    def ratio(self) -> float:
        """How many times the floor."""
        return self.value / self.floor
