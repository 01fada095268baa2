"""SVG by hand: elements, texts that anybody may have written, light and dark.

The same input gives the same bytes. Colours are classes, so that one picture fits
the reader's light or dark page.
"""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

import click

from shared.errors import ConfigError

FONT_SIZE: Final = 13
SMALL: Final = 11
CHARACTER: Final = 7.3
"""How wide a character of ``FONT_SIZE`` is, at most on average, in pixels."""
STDOUT: Final = Path("-")

_LIGHT: Final = {
    "paper": "#ffffff",
    "ink": "#1f2328",
    "quiet": "#59636e",
    "grid": "#d8dee4",
    "card": "#f6f8fa",
    "good": "#1a7f37",
    "bad": "#cf222e",
    "agreeing": "#8c959f",
    "linking": "#218bff",
    "input": "#bf8700",
    "computing": "#8250df",
    "output": "#2da44e",
}
_DARK: Final = {
    "paper": "#0d1117",
    "ink": "#e6edf3",
    "quiet": "#9198a1",
    "grid": "#30363d",
    "card": "#161b22",
    "good": "#3fb950",
    "bad": "#f85149",
    "agreeing": "#6e7681",
    "linking": "#388bfd",
    "input": "#d29922",
    "computing": "#a371f7",
    "output": "#3fb950",
}
_NOT_XML: Final = re.compile(
    "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\N{LINEAR B SYLLABLE B008 A}-\U0010ffff]"
)


def document(width: float, height: float, title: str, parts: Iterable[str]) -> str:
    """Return a whole picture.

    Args:
        width: in pixels.
        height: likewise.
        title: what it shows, for readers who do not see it.
        parts: elements.
    """
    across, down = number(width), number(height)
    opened = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}"'
        f' width="{across}" height="{down}" role="img"'
        f' font-family="system-ui, sans-serif" font-size="{FONT_SIZE}">'
    )
    return "\n".join(
        [
            opened,
            f"<title>{_safe(title)}</title>",
            "<style>",
            *_rules(_LIGHT),
            "@media (prefers-color-scheme: dark) {",
            *_rules(_DARK),
            "}",
            "</style>",
            element("rect", "paper", width=width, height=height),
            *parts,
            "</svg>\n",
        ]
    )


def element(
    tag: str, look: str, tip: str | None = None, **attributes: float | str
) -> str:
    """Return a shape.

    Args:
        tag: such as ``rect``.
        look: its classes.
        tip: a text that appears when a pointer rests on it.
        attributes: numbers or texts; ``_`` in a name stands for ``-``.
    """
    said = "".join(
        f' {name.replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
    )
    opened = f'<{tag} class="{look}"{said}'
    return f"{opened}/>" if tip is None else f"{opened}>{_tip(tip)}</{tag}>"


def text(x: float, y: float, words: str, look: str = "ink", **attributes: str) -> str:
    """Return a line of text that begins, or is anchored, at a point."""
    said = "".join(
        f' {name.replace("_", "-")}="{_safe(value)}"'
        for name, value in attributes.items()
    )
    place = f'x="{number(x)}" y="{number(y)}"'
    return f'<text class="{look}" {place}{said}>{_safe(words)}</text>'


def shortened(words: str, length: int) -> str:
    """Return a text of at most so many characters; an ellipsis stands for the rest."""
    return words if len(words) <= length else f"{words[: length - 1]}…"


def number(value: float) -> str:
    """Return a number as SVG has it, to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def write(path: Path, picture: str) -> None:
    """Write a picture whole or not at all; ``-`` is stdout. A file is replaced.

    Raises:
        ConfigError: it cannot be written there.
    """
    if path == STDOUT:
        click.echo(picture, nl=False)
        return
    try:
        if path.exists() and not path.is_file():
            path.write_text(picture, encoding="utf-8")  # a device is not replaced
        else:
            _replace(path.resolve(), picture)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}",
            "name a file in a folder that you may write to, or '-' for stdout",
        ) from error


def _replace(path: Path, picture: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(picture)
        new.chmod(0o666 & ~_mask())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _mask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _rules(colours: dict[str, str]) -> Iterable[str]:
    for name, colour in colours.items():
        yield f".{name} {{ fill: {colour}; }}"
        yield f".line-{name} {{ stroke: {colour}; fill: none; }}"


def _value(value: float | str) -> str:
    return _safe(value) if isinstance(value, str) else number(value)


def _tip(words: str) -> str:
    return f"<title>{_safe(words)}</title>"


def _safe(words: str) -> str:
    """Return a text as XML may hold it."""
    return escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", words))
