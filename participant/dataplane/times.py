"""How long things on the data plane may take."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Times:
    """Limits of time; the values are the protocol's.

    Attributes:
        connect: to connect to one address, TLS included.
        first_frame: from accepting a connection to its ap.req or peer.hello.
        hold: how long an ap.req or peer.hello waits for its job.
        answer: how long a dialler waits for the ap.rep or peer.hello.
        ping_after: silence in a job after which a PING is sent.
        dead_after: silence in a job after which the peer counts as lost.
        link_life: age after which a link takes no more jobs.
        linking: from the start of a job until all its links stand.
        eviction: age from which a connection that has shown nothing makes room
            for others.
        abort_grace: how long a party that a peer aborted waits before it reports
            that, so that the peer, who knows the reason, comes first.
        fetch: how long fetching a result that was computed earlier may take.
    """

    connect: timedelta = timedelta(seconds=5)
    first_frame: timedelta = timedelta(seconds=5)
    hold: timedelta = timedelta(seconds=10)
    answer: timedelta = timedelta(seconds=15)
    ping_after: timedelta = timedelta(seconds=5)
    dead_after: timedelta = timedelta(seconds=15)
    link_life: timedelta = timedelta(hours=1)
    linking: timedelta = timedelta(seconds=30)
    eviction: timedelta = timedelta(seconds=1)
    abort_grace: timedelta = timedelta(milliseconds=500)
    fetch: timedelta = timedelta(seconds=60)
