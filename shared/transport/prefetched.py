"""Deliveries that the broker has sent ahead, and their acknowledgement.

Plain bookkeeping: the AMQP transport fills it, the manager's loop empties it.
"""

from collections import deque
from collections.abc import Iterable

from shared.transport.base import Delivery


class Unacknowledged:
    """The open delivery tags of one channel, lowest first."""

    def __init__(self) -> None:
        self._open: dict[int, None] = {}

    def add(self, tag: int) -> None:
        """Note a delivery; tags come in rising order."""
        self._open[tag] = None

    def acknowledge(self, tags: Iterable[int]) -> list[tuple[int, bool]]:
        """Forget these tags and say how to acknowledge them.

        A run that starts at the lowest open tag needs one frame only, the rest
        one each. Tags that are not open are passed over (acknowledging one twice
        would cost the channel).

        Returns:
            Pairs of a tag and AMQP's ``multiple``, to be sent in this order.
        """
        wanted = {tag for tag in tags if tag in self._open}
        run: list[int] = []
        for tag in self._open:
            if tag not in wanted:
                break
            run.append(tag)
        single = sorted(wanted.difference(run))
        for tag in wanted:
            del self._open[tag]
        frames = [(run[-1], len(run) > 1)] if run else []
        return frames + [(tag, False) for tag in single]


class Waiting:
    """Deliveries that nobody took yet, a lane for each queue, taken in turn."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[Delivery]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not any(self._lanes.values())

    def add(self, delivery: Delivery) -> None:
        """Put a delivery at the end of its queue's lane."""
        lane = self._lanes.get(delivery.queue)
        if lane is None:
            lane = self._lanes[delivery.queue] = deque()
        lane.append(delivery)

    def drop(self, queue: str) -> None:
        """Forget what waits from a queue; the broker delivers it again."""
        self._lanes.pop(queue, None)

    def take(self, max_batch: int) -> list[Delivery]:
        """Return up to so many, one of each lane in turn.

        The lane that would have been next comes first the next time.
        """
        batch: list[Delivery] = []
        while len(batch) < max_batch and not self.is_empty:
            for queue in list(self._lanes):
                if len(batch) >= max_batch:
                    break
                lane = self._lanes.pop(queue)
                if lane:
                    batch.append(lane.popleft())
                self._lanes[queue] = lane
        return batch
