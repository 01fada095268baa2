"""The registration exchange: only the answer to one's own request counts."""

import pytest

from participant.protocol import registration
from participant.protocol.registration import Enrolment
from shared.crypto.derivation import broker_password
from shared.errors import RemoteProtocolError
from shared.messages import Attributes, BrokerAccess, RegistrationReply
from shared.names import Io, Principal, Role, TokenId
from shared.token import Token
from tests.participant_world import NOW_MS, World


def begun(world: World) -> Enrolment:
    """Return a registration under way."""
    token = Token(
        TokenId(bytes(8)), bytes(16), world.fingerprint, 1, "amqp://localhost/demo"
    )
    return registration.begin(
        token, Role.CLIENT, Io.INPUT, "Liberty", Attributes(), world.context()
    )


def reply(world: World, enrolment: Enrolment, **changes: object) -> RegistrationReply:
    """Return the manager's answer."""
    return RegistrationReply(
        nonce=enrolment.nonce,
        principal=Principal("Liberty001"),
        cert=world.certify(
            "Liberty001", Role.CLIENT, Io.INPUT, enrolment.signing, enrolment.kem
        ),
        broker=BrokerAccess(
            user=Principal("Liberty001"), vhost="demo", queue="client.Liberty001"
        ),
        realm_desc=world.descriptor(),
        now=NOW_MS,
    ).model_copy(update=changes)


def test_the_answer_makes_an_identity_with_a_login_of_its_own() -> None:
    """The broker password was made here; the manager got its hash only."""
    world = World()
    enrolment = begun(world)
    identity = registration.accept(
        enrolment, world.realm(), reply(world, enrolment), world.context(), "PEM"
    )
    done = registration.done(identity, enrolment)

    assert identity.principal == done.principal == "Liberty001"
    assert done.serial == world.serial
    assert identity.broker.password == enrolment.password
    assert enrolment.password not in str(enrolment.request())
    assert (identity.broker.url, identity.broker.authority) == (
        "amqp://localhost/demo",
        "PEM",
    )
    assert identity.broker.password != broker_password(enrolment.token.secret)


def test_21_a_repeated_request_is_the_same() -> None:
    """So the manager knows it again."""
    enrolment = begun(World())

    assert enrolment.request() == enrolment.request()


@pytest.mark.parametrize(
    "wrong", ["nonce", "principal", "signing", "kem", "role", "io", "realm"]
)
def test_an_answer_to_something_else_is_refused(wrong: str) -> None:
    """Nothing of it is kept."""
    world = World()
    enrolment = begun(world)
    other = begun(world)
    own = (enrolment.signing, enrolment.kem)
    changes: dict[str, dict[str, object]] = {
        "nonce": {"nonce": bytes(16)},
        "principal": {"principal": Principal("Liberty002")},
        "signing": {
            "cert": world.certify(
                "Liberty001", Role.CLIENT, Io.INPUT, other.signing, enrolment.kem
            )
        },
        "kem": {
            "cert": world.certify(
                "Liberty001", Role.CLIENT, Io.INPUT, enrolment.signing, other.kem
            )
        },
        "role": {"cert": world.certify("Liberty001", Role.MPCS, Io.INPUT, *own)},
        "io": {"cert": world.certify("Liberty001", Role.CLIENT, Io.BOTH, *own)},
        "realm": {"realm_desc": World(seed="other").descriptor()},
    }
    answer = reply(world, enrolment, **changes[wrong])
    with pytest.raises(RemoteProtocolError):
        registration.accept(enrolment, world.realm(), answer, world.context())


def test_nothing_secret_shows_when_it_is_printed() -> None:
    """Logs and traces must not hold keys."""
    world = World()
    enrolment = begun(world)
    identity = world.join("Liberty001", Role.CLIENT, Io.INPUT).identity

    assert enrolment.password not in repr(enrolment)
    assert repr(identity) == "Identity(Liberty001, <redacted>)"
    assert (
        repr(identity.broker) == "BrokerLogin(Liberty001@amqp://localhost, <redacted>)"
    )
