"""The data process: what its event loop complains of."""

import asyncio
import logging

import pytest

from participant.dataplane.process import loop_error


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (
            RuntimeError("unable to perform operation on <X>; the handler is closed"),
            False,
        ),
        (RuntimeError("Event loop is closed"), True),
        (ValueError("a bug of ours, closed"), True),
    ],
)
def test_only_what_follows_from_a_link_given_up_is_no_error(
    error: Exception, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything else is told with all there is to know."""
    loop = asyncio.new_event_loop()
    with caplog.at_level(logging.ERROR):
        loop_error(
            loop, {"message": "Error occurred during shutdown", "exception": error}
        )
    loop.close()

    assert bool(caplog.records) is is_told
