"""The enrolment token's one string."""

import pytest

from shared import token as token_module
from shared.errors import ConfigError
from shared.names import Fingerprint, Io, Role, TokenId
from shared.token import Token, parse

TOKEN = Token(
    TokenId(bytes(range(8))),
    bytes(range(16)),
    Fingerprint(bytes(range(32))),
    3,
    "amqp://127.0.0.1:5672/demo",
    bytes(range(32, 64)),
    Role.CLIENT,
    Io.INPUT,
)


@pytest.mark.parametrize("authority", [None, bytes(32)])
def test_a_token_survives_its_text(authority: bytes | None) -> None:
    """Whatever the manager prints, the participant reads the same."""
    made = Token(
        TOKEN.token_id, TOKEN.secret, TOKEN.fingerprint, 1, TOKEN.broker_url, authority
    )

    assert parse(made.text()) == made
    assert parse(f" {TOKEN.text()}\n") == TOKEN


def test_every_lost_or_changed_part_is_noticed() -> None:
    """A token that was copied badly is refused before anything is done with it."""
    text = TOKEN.text()
    damaged = [text[:cut] for cut in range(0, len(text) - 60, 7)]
    damaged += [text.replace("mpxe1", "mpxe2"), text + ".", text + "=", text + "A"]
    damaged += ["x" * (token_module.MAX_TEXT + 1), text.replace(".", "!")]

    for each in damaged:
        with pytest.raises(ConfigError):
            parse(each)


def test_a_token_never_prints_its_secret() -> None:
    """Logs may hold its name only."""
    assert TOKEN.secret.hex() not in repr(TOKEN)
    assert repr(TOKEN.secret) not in repr(TOKEN)
    assert TOKEN.token_id.hex() in repr(TOKEN)


def test_a_token_says_who_its_holder_is_at_the_broker() -> None:
    """One name for AMQP, one inside envelopes."""
    assert TOKEN.user == "enrol-0001020304050607"
    assert TOKEN.sender == "enrol:0001020304050607"
    assert len(TOKEN.broker_password) == 64
