"""What a participant believes of its realm: only what the pinned root signed."""

import pytest

from participant.protocol.trust import RealmView, check_certificate, check_descriptor
from shared.crypto.keys import KemKey, SigningKey
from shared.errors import CryptoError, RemoteProtocolError
from shared.messages import KeyUse, SignedCertificate, SignedRealm
from shared.names import Io, Role
from tests.participant_world import NOW_MS, YEAR_MS, World


def test_a_descriptor_of_the_pinned_realm_names_the_managers_keys() -> None:
    """They are used while they are in time, the newest first."""
    world = World()
    realm = check_descriptor(world.descriptor(epoch=3), world.fingerprint, 2)

    assert realm.epoch == 3
    assert realm.signing_key(world.manager.kid, NOW_MS) == world.manager.public
    assert realm.kem_key(NOW_MS) == world.manager_kem.public
    assert realm.signing_key(world.manager.kid, NOW_MS + 2 * YEAR_MS) is None
    with pytest.raises(CryptoError, match="no key of the manager"):
        realm.kem_key(NOW_MS + 2 * YEAR_MS)


def test_48_rollback_other_root_and_altered_descriptors_are_refused() -> None:
    """The fingerprint is compared whole, and epochs never go back."""
    world = World()
    stranger = SigningKey.from_seed(bytes(32))
    honest = world.descriptor()
    wrong_id = world.key(KeyUse.SIG, stranger.public).model_copy(
        update={"kid": world.manager.kid}
    )
    refused = (
        world.descriptor(root=stranger),
        world.descriptor(realm="other"),
        world.descriptor(realm="=ther"),
        world.descriptor(min_ver=2),
        world.descriptor(keys=(wrong_id,)),
        SignedRealm(rd=honest.rd, sig=bytes(64)),
        SignedRealm(rd=honest.rd + b"\0", sig=honest.sig),
        SignedRealm(rd=b"\x80", sig=honest.sig),
    )
    for signed in refused:
        with pytest.raises(RemoteProtocolError):
            check_descriptor(signed, world.fingerprint, 1)
    with pytest.raises(RemoteProtocolError, match="older than 2"):
        check_descriptor(honest, world.fingerprint, 2)


def certified(world: World, **changes: object) -> SignedCertificate:
    """Return a certificate by the world's manager."""
    return world.certify(
        "Liberty001",
        Role.CLIENT,
        Io.INPUT,
        SigningKey.from_seed(bytes(32)),
        KemKey.from_bytes(bytes(32)),
        **changes,
    )


def test_a_certificate_counts_while_it_is_in_time() -> None:
    """By the manager of this realm, whose key is in time too."""
    world = World()
    body = check_certificate(certified(world), world.realm(), NOW_MS)

    assert body.principal == "Liberty001"


def test_foreign_and_expired_certificates_are_refused() -> None:
    """Another issuer, another realm, another time, other bytes."""
    world, realm = World(), World().realm()
    other = World(seed="other")
    refused: list[tuple[SignedCertificate, RealmView]] = [
        (certified(other), realm),
        (certified(world, realm=other.fingerprint), realm),
        (certified(world, exp=NOW_MS - 1), realm),
        (SignedCertificate(c=b"\x80", sig=bytes(64)), realm),
        (SignedCertificate(c=certified(world).c, sig=bytes(64)), realm),
    ]
    for signed, view in refused:
        with pytest.raises(RemoteProtocolError):
            check_certificate(signed, view, NOW_MS)
