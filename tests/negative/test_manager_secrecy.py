"""What a recording of the broker is worth once long-term keys leak."""

import itertools
from collections.abc import Iterable

from shared.crypto.derivation import as_keys, as_transcript
from shared.crypto.keys import KemKey
from shared.crypto.sealing import hpke_open, open_with_nonce
from shared.envelope import SIGNATURE_BYTES, Sealed, parse
from shared.errors import CryptoError
from shared.messages import AsReply, AsReplyCore, AsRequest, Status, Suite, unpack
from tests.negative.realm import Actor, AttackedRealm, run


def _recording(realm: AttackedRealm) -> list[Sealed]:
    return [parse(message.body) for message in realm.broker.seen]


def _unsealed(
    recording: list[Sealed], kems: Iterable[KemKey], kind: str
) -> list[bytes]:
    """Return the payloads of a type that these keys open."""
    found = []
    for sealed, kem in itertools.product(recording, kems):
        if sealed.header.t != kind:
            continue
        try:
            info = b"MPX1-seal\0" + sealed.associated
            found.append(hpke_open(kem, info, sealed.body)[SIGNATURE_BYTES:])
        except CryptoError:
            continue
    return found


def _session_keys(recording: list[Sealed], kems: list[KemKey]) -> set[bytes]:
    """Return every session key that these X25519 keys lead to, whoever holds them."""
    keys = set()
    requests = _unsealed(recording, kems, "as.req")
    replies = _unsealed(recording, kems, "as.rep")
    for request, reply in itertools.product(requests, replies):
        core = unpack(AsReply, reply).core
        publics = (unpack(AsRequest, request).e, unpack(AsReplyCore, core).e)
        transcript = as_transcript(request, core)
        for kem, public in itertools.product(kems, publics):
            derived = as_keys(transcript, kem.exchange(public))
            keys |= {derived.up, derived.down}
    return keys


def _opened(recording: list[Sealed], keys: Iterable[bytes]) -> int:
    """Return how many bodies of suite 2 one of the keys opens."""
    count = 0
    for sealed, key in itertools.product(recording, keys):
        if sealed.suite is not Suite.SESSION:
            continue
        try:
            open_with_nonce(key, sealed.associated, sealed.body)
        except CryptoError:
            continue
        count += 1
    return count


def test_02_no_recorded_session_opens_with_all_long_term_keys() -> None:
    """Sessions stand on ephemeral keys: a later leak opens only the AS exchange."""

    async def history(realm: AttackedRealm) -> None:
        actor: Actor = (await realm.cast())[-1]
        actor.send(Status(slots_free=0, slots=0, load=1))
        actor.send(actor.job_request())
        await realm.settle()
        recording = _recording(realm)
        in_sessions = [each for each in recording if each.suite is Suite.SESSION]
        kems = [realm.keys.kem, *(each.kem for each in realm.actors)]
        long_term = {
            realm.root.seed,
            realm.keys.signer.seed,
            *(each.signer.seed for each in realm.actors),
            *(kem.secret for kem in kems),
            *(key for _, key in realm.keys.session_keys),
        }
        candidates = _session_keys(recording, kems)

        assert len(in_sessions) > len(realm.actors)
        assert len(candidates) >= 2 * len(realm.actors)
        assert _opened(recording, candidates | long_term) == 0

        # The decryptor is a real one: with the ephemeral keys everything opens.
        ephemeral = [each.ephemeral for each in realm.actors]
        exposed = _session_keys(recording, [*kems, *ephemeral])
        assert len(in_sessions) == _opened(recording, exposed)

    run(history)
