"""What somebody may have meant who wrote a name that there is not."""

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the question after the nearest known name, or ``None`` if none is near."""
    import difflib  # noqa: PLC0415 - only a wrong name needs it

    by_folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f"did you mean {by_folded[near[0]]!r}?" if near else None
