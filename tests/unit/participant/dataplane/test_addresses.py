"""Addresses as people write them."""

import pytest

from participant.dataplane.addresses import split_address
from shared.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:1270", "127.0.0.1", 1270),
        ("mpc.example.org:0", "mpc.example.org", 0),
        ("[::1]:65535", "::1", 65535),
    ],
)
def test_address_has_a_host_and_a_port(address: str, host: str, port: int) -> None:
    """IPv6 stands in brackets, as in a URL."""
    assert (host, port) == split_address(address)


@pytest.mark.parametrize(
    "address",
    ["", ":1270", "host", "host:", "host:65536", "host:-1", "::1:1270", "[]:1"],
)
def test_what_is_no_address_is_refused_with_a_hint(address: str) -> None:
    """The hint shows both forms."""
    with pytest.raises(ConfigError) as caught:
        split_address(address)

    assert "host:port" in (caught.value.hint or "")
