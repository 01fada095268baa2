"""Tables on stdout, with texts in them that anybody may have written."""

from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from shared.printable import printable


class _PlainConsole(Console):
    """A console that hands no control character of a text on."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text to be laid out; it may have several lines."""
        lines = "\n".join(map(printable, text.split("\n")))
        return super().render_str(lines, **options)


def console() -> Console:
    """Return stdout; texts are shown as they are, and never read as markup.

    What is not printable is shown as a space: a terminal would obey it.
    """
    return _PlainConsole(markup=False, emoji=False, highlight=False)


def print_table(table: RenderableType) -> None:
    """Print a table, or whatever else rich can show."""
    console().print(table)
