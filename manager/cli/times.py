"""Times as people read them."""

from shared.clock import from_ms


def shown(moment: int | None) -> str:
    """Return a time (ms) in the machine's zone, to the second; empty for none."""
    if not moment:
        return ""
    return from_ms(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
