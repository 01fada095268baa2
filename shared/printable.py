"""Text that others wrote, as a terminal shows it: with nothing in it that it obeys."""


def printable(text: str) -> str:
    """Return a text as one line; a space for whatever is not printable."""
    return "".join(char if char.isprintable() else " " for char in text)
