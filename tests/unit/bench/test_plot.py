"""The plot is well-formed SVG that shows every point inside its axes."""

import xml.etree.ElementTree as ET

from bench.fit import Power
from bench.plot import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, Panel, svg

SVG = "{http://www.w3.org/2000/svg}"


def panel(points: tuple[tuple[float, float], ...], label: str = "set-up") -> Panel:
    """A panel with one line, of order one."""
    return Panel("growth", "parties", "ms", (Line(label, points, Power(2.0, 1.0)),))


def test_every_point_is_drawn_inside_the_axes() -> None:
    """A point outside would be cut off, or lie upon the axis' numbers."""
    points = ((5.0, 13.0), (61.0, 790.0), (9.0, 20.0))

    circles = list(ET.fromstring(svg([panel(points)])).iter(f"{SVG}circle"))
    drawn = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in circles]

    assert len(drawn) == len(points) + 1  # and one in the legend
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT for x, y in drawn)


def test_larger_values_lie_higher_and_further_right() -> None:
    """Axes that ran the wrong way would make every cost look as if it shrank."""
    drawn = list(
        ET.fromstring(svg([panel(((1.0, 1.0), (10.0, 100.0)))])).iter(f"{SVG}circle")
    )[:2]

    assert float(drawn[0].attrib["cx"]) < float(drawn[1].attrib["cx"])
    assert float(drawn[0].attrib["cy"]) > float(drawn[1].attrib["cy"])


def test_values_that_are_all_alike_are_drawn() -> None:
    """A flat curve has no span of its own; the axis must not divide by it."""
    drawn = ET.fromstring(svg([panel(((10.0, 5.0), (10.0, 5.0)))]))

    assert len(list(drawn.iter(f"{SVG}circle"))) == 3


def test_texts_are_escaped() -> None:
    """A label with an angle bracket must not end the drawing."""
    drawn = ET.fromstring(svg([panel(((1.0, 1.0), (2.0, 2.0)), "a<b")]))

    assert any("a<b: n^1.00" in (t.text or "") for t in drawn.iter(f"{SVG}text"))


def test_panels_stand_side_by_side() -> None:
    """Two plots in one picture do not cover each other."""
    drawn = ET.fromstring(svg([panel(((1.0, 1.0), (2.0, 2.0)))] * 2))

    assert drawn.attrib["width"] == str(2 * WIDTH)
