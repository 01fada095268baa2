"""What both programs count of their mail, for Prometheus.

Labels have few values, all of them known beforehand, so that every series is there
from the start with 0; none is a job, a message or a name.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.envelope import DropReason
from shared.errors import ErrorCode
from shared.messages import CATALOGUE
from shared.transport.base import ConnectionState


class MailFigures:
    """Envelopes, errors, and the connection to the broker.

    Args:
        registry: of the program.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._opened = Counter(
            "mpc_envelopes_opened",
            "Envelopes that were opened, their sender proven.",
            ["type"],
            registry=registry,
        )
        self._refused = Counter(
            "mpc_envelopes_refused",
            "Envelopes that were not handled; docs/protocol.md explains the reasons.",
            ["reason"],
            registry=registry,
        )
        self._told = Counter(
            "mpc_errors_told",
            "Errors that the manager told a participant.",
            ["code"],
            registry=registry,
        )
        self._connected = Gauge(
            "mpc_broker_connected",
            "1 while there is a connection to the broker.",
            registry=registry,
        )
        self._reconnects = Counter(
            "mpc_broker_reconnects",
            "Connections to the broker after the first one.",
            registry=registry,
        )
        self._was_connected = False
        for name in CATALOGUE:
            self._opened.labels(name)
        for reason in DropReason:
            self._refused.labels(reason.value)
        for code in ErrorCode:
            self._told.labels(code.value)

    def opened(self, message_type: str) -> None:
        """Count an envelope whose sender is proven.

        Args:
            message_type: its wire name, one of the catalogue.
        """
        self._opened.labels(message_type).inc()

    def refused(self, reason: DropReason) -> None:
        """Count an envelope that was not handled."""
        self._refused.labels(reason.value).inc()

    def told(self, code: ErrorCode, number: int = 1) -> None:
        """Count errors that the manager told a participant."""
        self._told.labels(code.value).inc(number)

    def broker_changed(self, state: ConnectionState) -> None:
        """Take note of a change of the connection; for ``Transport.watch``."""
        is_connected = state is ConnectionState.CONNECTED
        self._connected.set(is_connected)
        if is_connected:
            if self._was_connected:
                self._reconnects.inc()
            self._was_connected = True
