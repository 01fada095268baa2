"""One line in the log a delivery, and one a second for what a flood drops."""

import logging
from collections import Counter

from manager.service.dispatch import Outcome
from shared.envelope import DroppedError, DropReason, Sealed
from shared.transport.base import Delivery

_log = logging.getLogger("manager.service")


class Story:
    """Writes the log of deliveries."""

    def __init__(self) -> None:
        self._floods: Counter[str | None] = Counter()

    def handled(self, delivery: Delivery, outcome: Outcome, seconds: float) -> None:
        """Tell what became of a delivery that was worth a transaction."""
        header = outcome.sealed.header if outcome.sealed else None
        is_news = outcome.code is not None
        _log.log(
            logging.WARNING if is_news else logging.INFO,
            "delivery",
            extra={
                "message_type": header.t if header else delivery.message_type,
                "sender": header.s if header else delivery.user_id,
                "message_id": header.mid.hex() if header else None,
                "job_id": header.job.hex() if header and header.job else None,
                "outcome": outcome.outcome,
                "code": outcome.code,
                "elapsed_ms": round(seconds * 1000, 3),
                "redelivered": delivery.redelivered,
            },
        )

    def dropped(self, delivery: Delivery, error: DroppedError) -> None:
        """Tell of a delivery that was dropped unread; a flood is told as a sum.

        Who leaves out ``user_id`` has no budget of its own.
        """
        if error.reason is DropReason.RATE or delivery.user_id is None:
            self._floods[delivery.user_id] += 1
            return
        _log.warning(
            "delivery",
            extra={
                "message_type": delivery.message_type,
                "sender": delivery.user_id,
                "message_id": error.header.mid.hex() if error.header else None,
                "outcome": f"dropped {error.reason}",
                "code": error.code,
                "redelivered": delivery.redelivered,
            },
        )

    def sum_up(self) -> None:
        """Tell whose deliveries were over budget since the last time."""
        for sender, number in self._floods.items():
            event = "without a user" if sender is None else "over budget"
            _log.warning(event, extra={"sender": sender, "number": number})
        self._floods.clear()


def header_of(sealed: Sealed) -> dict[str, str]:
    """Return what the log says of an envelope that could not be handled."""
    return {
        "message_type": sealed.header.t,
        "sender": sealed.header.s,
        "message_id": sealed.header.mid.hex(),
    }
