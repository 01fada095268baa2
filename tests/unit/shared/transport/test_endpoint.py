"""A broker url names nodes and nothing secret; waits grow and differ."""

from datetime import timedelta

import pytest

from shared.errors import ConfigError
from shared.transport.endpoint import (
    Advertised,
    Backoff,
    Endpoint,
    Nodes,
    parse_advertised,
    parse_endpoints,
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://localhost", Endpoint("localhost", 5672, is_tls=False)),
        ("amqps://broker.example:443", Endpoint("broker.example", 443, is_tls=True)),
        ("amqps://[::1]", Endpoint("::1", 5671, is_tls=True)),
        ("amqp://10.0.0.1:5/my%2Frealm", Endpoint("10.0.0.1", 5, is_tls=False)),
        ("amqp://h/", Endpoint("h", 5672, is_tls=False)),
    ],
)
def test_a_url_is_a_node(url: str, expected: Endpoint) -> None:
    """Ports have their usual defaults; a path may repeat the vhost."""
    assert parse_endpoints(url, "my/realm") == (expected,)


def test_a_cluster_is_several_urls() -> None:
    """They are tried in turn."""
    expected = (Endpoint("a", 1, is_tls=False), Endpoint("b", 5671, is_tls=True))

    assert parse_endpoints("amqp://a:1, amqps://b", "r") == expected


def test_a_node_that_is_left_comes_last() -> None:
    """Who shares the nodes and leaves the same one does not pass over the next."""
    nodes = Nodes("amqp://a,amqp://b,amqp://c", "r")
    first = nodes.first
    nodes.leave(first)
    second = nodes.first
    nodes.leave(first)
    third = nodes.first
    nodes.leave(second)

    assert [each.host for each in (first, second, third, nodes.first)] == [*"abbc"]
    assert len(nodes) == 3


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "http://localhost",
        "amqp://",
        "amqp://h:70000",
        "amqp://h:x",
        "amqp://h/other-realm",
        "amqp://h?heartbeat=1",
        "amqp://a,,amqp://b",
    ],
)
def test_what_is_no_broker_url_is_refused(url: str) -> None:
    """With a hint that shows the right form."""
    with pytest.raises(ConfigError) as caught:
        parse_endpoints(url, "r")

    assert "amqp://host:port" in str(caught.value.hint)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    """Urls end up in logs and process lists."""
    with pytest.raises(ConfigError) as caught:
        parse_endpoints("amqp://me:hunter2@h", "r")

    assert "hunter2" not in f"{caught.value}{caught.value.hint}"


def test_waits_grow_to_the_longest_and_begin_again() -> None:
    """A broker that is down for hours is asked now and then only."""
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=10))
    waits = [backoff.next_seconds() for _ in range(200)]
    backoff.reset()

    assert min(waits) >= 0.5
    assert max(waits) <= 10
    assert max(waits) > 5
    assert backoff.next_seconds() <= 1


def test_two_parties_do_not_wait_alike() -> None:
    """Else a crowd returns as one."""
    waits = {
        Backoff(timedelta(seconds=1), timedelta(seconds=10)).next_seconds()
        for _ in range(20)
    }

    assert len(waits) == 20


@pytest.mark.parametrize(
    ("address", "expected", "url"),
    [
        ("hub.example", Advertised("hub.example", 5671), "amqps://hub.example:5671"),
        ("hub:4671", Advertised("hub", 4671), "amqps://hub:4671"),
        ("10.0.0.1", Advertised("10.0.0.1", 5671), "amqps://10.0.0.1:5671"),
        ("[fd00::1]", Advertised("fd00::1", 5671), "amqps://[fd00::1]:5671"),
        ("[FD00:0::1]", Advertised("fd00::1", 5671), "amqps://[fd00::1]:5671"),
        ("[fd00::1]:443", Advertised("fd00::1", 443), "amqps://[fd00::1]:443"),
    ],
)
def test_an_advertised_address_is_a_url(
    address: str, expected: Advertised, url: str
) -> None:
    """A port that is not named is the broker's own."""
    [found] = parse_advertised([address], 5671)

    assert found == expected
    assert found.url(is_tls=True) == url
    assert parse_endpoints(url, "r") == (Endpoint(found.host, found.port, is_tls=True),)


@pytest.mark.parametrize(
    "address",
    [
        *("", "0.0.0.0", "[::]", "fd00::1", "amqps://hub", "hub/realm", "me@hub"),
        *("hub:0", "hub:70000", "hub:x", "a b", "-hub", "1.2.3", "h" * 254),
    ],
)
def test_nobody_is_reached_at_a_malformed_address(address: str) -> None:
    """It would be in every token and in the certificate."""
    with pytest.raises(ConfigError, match="not where others can reach") as caught:
        parse_advertised([address], 5671)

    assert caught.value.hint
