"""What somebody may have meant."""

import pytest

from shared.suggestion import did_you_mean


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("visit", "did you mean 'visits'?"),
        ("VISITS", "did you mean 'visits'?"),
        ("j01", "did you mean 'J001'?"),
        ("claims", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_asked_for(name: str, expected: str | None) -> None:
    """In whatever case it was written; none is better than a far one."""
    assert expected == did_you_mean(name, ["visits", "J001"])


def test_where_nothing_is_known_nothing_is_near() -> None:
    """An empty realm has no names."""
    assert did_you_mean("visits", []) is None
