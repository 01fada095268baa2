"""Tables on stdout, with texts in them that anybody may have written."""

from rich.console import Console, RenderableType


def console() -> Console:
    """Return stdout; texts are shown as they are, and never read as markup."""
    return Console(markup=False, emoji=False, highlight=False)


def print_table(table: RenderableType) -> None:
    """Print a table, or whatever else rich can show."""
    console().print(table)
