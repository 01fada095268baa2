"""Times as people read them."""

from datetime import datetime


def shown(moment: datetime | None) -> str:
    """Return a time in the machine's zone, to the second; empty for none."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
