"""A registered broker user gone bad: a process that publishes junk at a fixed rate.

Run as ``python -m tests.integration.flooder``; reads its order as JSON on stdin and
prints how many envelopes it published and in how many seconds.
"""

import json
import ssl
import sys
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import pika

BURST: Final = 100
"""Envelopes between two looks at the clock and at the connection."""


def flood(order: dict[str, object], bodies: Sequence[bytes]) -> tuple[int, float]:
    """Publish the bodies in turn; return how many, in how many seconds."""
    url = urlsplit(str(order["url"]))
    context = ssl.create_default_context(cadata=str(order["authority"]))
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(
            url.hostname or "",
            url.port or 0,
            str(order["vhost"]),
            pika.PlainCredentials(str(order["user"]), str(order["password"])),
            ssl_options=pika.SSLOptions(context, url.hostname),
        )
    )
    channel = connection.channel()
    named = pika.BasicProperties(user_id=str(order["user"]), type="status")
    nameless = pika.BasicProperties(type="status")
    rate, total = float(str(order["rate"])), int(str(order["total"]))
    began = time.monotonic()
    sent = 0
    while sent < total:
        for _ in range(BURST):
            channel.basic_publish(
                "mpc.manager",
                f"jobs.{order['user']}",
                bodies[sent % len(bodies)],
                nameless if sent % 10 == 0 else named,
            )
            sent += 1
        ahead = sent / rate - (time.monotonic() - began)
        connection.process_data_events(max(0.0, ahead))
    seconds = time.monotonic() - began
    connection.close()
    return sent, seconds


def main() -> None:
    """Obey the order on stdin."""
    order = json.load(sys.stdin)
    bodies = [bytes.fromhex(body) for body in order.pop("bodies")]
    sent, seconds = flood(order, bodies)
    print(json.dumps({"sent": sent, "seconds": seconds}))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
