"""What ``--json`` prints."""

import json
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from shared.output import Output, Time, json_text, moment, path_text


class Kept(Output):
    """Something.

    Attributes:
        at: when.
        until: if ever.
    """

    at: Time
    until: Time | None


def test_times_are_text_in_utc_to_the_millisecond() -> None:
    """Whatever zone they came in; what is not known is null, and there."""
    east = timezone(timedelta(hours=2))
    kept = Kept(at=datetime(2030, 1, 1, 1, 0, 0, 1_999, east), until=None)

    assert json.loads(json_text(kept)) == {
        "at": "2029-12-31T23:00:00.001Z",
        "until": None,
    }
    assert json_text([]) == "[]"
    assert [json.loads(json_text(kept))] == json.loads(json_text([kept]))


def test_a_time_that_never_was_is_none() -> None:
    """Stores keep 0 for it."""
    assert (moment(None), moment(0)) == (None, None)
    assert moment(1) == datetime(1970, 1, 1, 0, 0, 0, 1_000, UTC)


def test_a_path_that_is_no_text_is_shown_all_the_same() -> None:
    """JSON holds text only."""
    assert path_text(Path("/a/ö")) == "/a/ö"
    assert path_text(Path(os.fsdecode(b"/a/\xff"))) == "/a/\N{REPLACEMENT CHARACTER}"
